/** Two widgets for the page. They only write ordinary text inputs, so a graph without a page needs neither. */

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { make, restore, restoreFromHistory, showRun } from "./common.js";
import { addFacePicker } from "./face_picker.js";
import { addPoseEditor } from "./pose_editor.js";

const WIDGETS = {
  DetectFaces(node) {
    addFacePicker(node, "index", "all");
    // The picker has the picture already; the page would put its preview below it.
    node.hideOutputImages = true; // Vue nodes
    node.onDrawBackground = undefined; // the classic canvas
  },
  EncodeIdentity(node) {
    addFacePicker(node, "face_index", "0");
  },
  LandmarkControl(node) {
    addFacePicker(node, "face_index", "0");
    addPoseEditor(node);
  },
};

document.head.append(make("link", { rel: "stylesheet", href: new URL("likeness.css", import.meta.url).href }));

app.registerExtension({
  name: "likeness.widgets",
  nodeCreated(node) {
    WIDGETS[node.comfyClass]?.(node);
  },
  setup() {
    api.addEventListener("execution_success", ({ detail }) => showRun(detail.prompt_id));
  },
  onNodeOutputsUpdated: (outputs) => restore(outputs),
  afterConfigureGraph: restoreFromHistory,
});
