/** Two widgets for the page. They only write ordinary text inputs, so a graph without a page needs neither. */

import { app } from "../../../scripts/app.js";
import { make, restore, restoreFromHistory } from "./common.js";
import { addFacePicker } from "./face_picker.js";
import { addPoseEditor } from "./pose_editor.js";

const WIDGETS = {
  DetectFaces(node) {
    addFacePicker(node, "index", true);
    // The picker has the picture already; the page would put its preview below it.
    node.hideOutputImages = true; // Vue nodes
    node.onDrawBackground = undefined; // the classic canvas
  },
  EncodeIdentity(node) {
    addFacePicker(node, "face_index", false);
  },
  LandmarkControl(node) {
    addFacePicker(node, "face_index", false);
    addPoseEditor(node);
  },
};

document.head.append(make("link", { rel: "stylesheet", href: new URL("likeness.css", import.meta.url).href }));

app.registerExtension({
  name: "likeness.widgets",
  nodeCreated(node) {
    WIDGETS[node.comfyClass]?.(node);
  },
  onNodeOutputsUpdated: restore,
  afterConfigureGraph: restoreFromHistory,
});
