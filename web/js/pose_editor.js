/** The five landmarks of a face as handles over the photograph; what is done with them becomes the node's JSON. */

import { button, follow, isLinked, make, onShown, Panel, Stage, widgetOf, write } from "./common.js";
import { chosen, LARGEST, numberOf } from "./faces.js";
import * as poses from "./pose.js";

const INPUT = "landmarks";
const HEIGHT = 320;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const STEP = { size: 1.05, turn: 5 }; // a click on a button, a notch of the wheel; degrees
const SVG = "http://www.w3.org/2000/svg";

/**
 * ComfyUI leaves the keys of <input> elements to them, ctrl+z above all, which would otherwise undo a change to the
 * graph as well; so what can be focused in here is one.
 */
const control = (attributes) => make("input", { type: "button", ...attributes });

class PoseEditor {
  constructor(node) {
    Object.assign(this, { node, found: undefined, past: [], future: [], drag: undefined });
    this.stage = new Stage();
    this.limbs = document.createElementNS(SVG, "svg");
    this.limbs.setAttribute("class", "likeness-limbs");
    this.whole = control({ class: "likeness-whole", "aria-label": "Whole face: arrow keys move it, + and - scale it" });
    this.stage.stage.append(this.limbs, this.whole);
    this.handles = [];
    this.status = make("span", { class: "likeness-status", role: "status" });
    this.actions = this.newActions();
    const bar = make("div", { class: "likeness-bar" }, ...Object.values(this.actions));
    this.root = make(
      "div",
      { class: "likeness likeness-pose", role: "group", "aria-label": "Pose of the face" },
      this.stage.area,
      bar,
      this.status,
    );
    this.listen();
    this.panel = new Panel(node, "pose_editor", this.root, HEIGHT);
    this.panel.show();
    follow(node, [INPUT, "face_index"], () => this.draw());
    onShown(node, (pictures) => this.show(pictures));
    this.draw();
  }

  newActions() {
    const action = (label, sign, act) => {
      const made = control({ class: "likeness-button", value: sign, "aria-label": label, title: label });
      made.addEventListener("click", act);
      return made;
    };
    return {
      undo: action("Undo (ctrl+z)", "↶", () => this.undo()),
      redo: action("Redo (ctrl+y)", "↷", () => this.redo()),
      smaller: action("Smaller (-)", "−", () => this.change(poses.scaled, 1 / STEP.size)),
      larger: action("Larger (+)", "+", () => this.change(poses.scaled, STEP.size)),
      left: action("Turn left ([)", "⟲", () => this.change(poses.turned, -STEP.turn)),
      right: action("Turn right (])", "⟳", () => this.change(poses.turned, STEP.turn)),
      mirror: action("Mirror (m)", "⇋", () => this.change(poses.mirrored)),
      reset: action("Back to the photograph", "Reset", () => this.commit("")),
    };
  }

  listen() {
    const { stage } = this.stage;
    stage.addEventListener("pointerdown", (event) => this.onDown(event));
    stage.addEventListener("pointermove", (event) => this.onMove(event));
    stage.addEventListener("pointerup", () => this.onUp());
    stage.addEventListener("pointercancel", () => this.onCancel());
    stage.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
    this.root.addEventListener("keydown", (event) => this.onKey(event));
    // By this word a Vue node knows that the wheel is taken.
    this.root.addEventListener("focusin", () => (this.root.dataset.captureWheel = "true"));
    this.root.addEventListener("focusout", () => delete this.root.dataset.captureWheel);
  }

  /** Pictures of the latest run; one that did not look for faces keeps those that were found in the same picture. */
  show(pictures) {
    const found = pictures.find((picture) => picture.faces.length) ?? pictures[0];
    const isSame = found && found.picture.filename === this.found?.picture.filename;
    if (!isSame || found.searched) this.found = found;
    this.draw();
  }

  get text() {
    return String(widgetOf(this.node, INPUT).value ?? "");
  }

  /** The faces that the node takes from the photograph when its JSON is empty, undefined before it has looked. */
  fromPhotograph() {
    const faces = this.found?.faces ?? [];
    const numbers = faces.map((face) => numberOf(face, LARGEST));
    const picked = chosen(widgetOf(this.node, "face_index").value, numbers);
    const landmarks = faces.filter((_, place) => picked.has(numbers[place])).map((face) => face.landmarks);
    return landmarks.length ? { size: this.found.size, faces: landmarks } : undefined;
  }

  /** What is shown, and what a change starts from; null where the JSON can't be read. */
  pose() {
    if (this.text.trim() !== "") return poses.parsePose(this.text);
    return this.fromPhotograph() ?? { ...poses.NEUTRAL, size: this.found?.size ?? poses.NEUTRAL.size };
  }

  isReadOnly() {
    return isLinked(this.node, INPUT);
  }

  draw(pose = this.pose()) {
    const readOnly = this.isReadOnly();
    const faces = readOnly || !pose ? [] : pose.faces;
    const size = pose?.size ?? this.found?.size ?? poses.NEUTRAL.size;
    this.stage.setSize(size);
    // Over a photograph of another shape the landmarks of a canvas would lie in the wrong places.
    const fits = this.found && size[0] * this.found.size[1] === size[1] * this.found.size[0];
    this.stage.setPicture(fits ? this.found.picture : undefined);
    this.drawHandles(faces);
    this.drawLimbs(faces, size);
    this.whole.disabled = faces.length === 0;
    for (const action of Object.values(this.actions)) action.disabled = faces.length === 0;
    this.actions.undo.disabled = readOnly || this.past.length === 0;
    this.actions.redo.disabled = readOnly || this.future.length === 0;
    this.actions.reset.disabled = readOnly || this.text === "";
    this.status.textContent = this.state(pose, readOnly);
  }

  state(pose, readOnly) {
    if (readOnly) return "landmarks comes over a link";
    if (!pose) return "landmarks is not the JSON of a pose";
    if (this.text.trim() !== "" || this.drag) return "Posed by hand";
    return this.fromPhotograph() ? "As in the photograph" : "No run yet: a neutral face";
  }

  drawHandles(faces) {
    const points = faces.flat();
    while (this.handles.length > points.length) this.handles.pop().remove();
    while (this.handles.length < points.length) {
      const handle = control({ class: "likeness-handle" });
      this.handles.push(handle);
      this.stage.stage.append(handle);
    }
    points.forEach((point, place) => {
      const handle = this.handles[place];
      const kind = place % poses.POINTS.length;
      const face = faces.length > 1 ? `Face ${Math.floor(place / poses.POINTS.length)}, ` : "";
      this.stage.place(handle, point);
      handle.dataset.point = kind;
      handle.setAttribute("aria-label", `${face}${poses.POINTS[kind]}: ${point.map(Math.round).join(", ")}`);
      handle.title = `${face}${poses.POINTS[kind]}`;
    });
  }

  drawLimbs(faces, [width, height]) {
    this.limbs.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const lines = faces.flatMap((face) =>
      face.flatMap((point, kind) => {
        if (kind === poses.NOSE) return [];
        const line = document.createElementNS(SVG, "line");
        const ends = { x1: point[0], y1: point[1], x2: face[poses.NOSE][0], y2: face[poses.NOSE][1] };
        for (const [name, value] of Object.entries(ends)) line.setAttribute(name, value);
        line.dataset.point = kind;
        return [line];
      }),
    );
    this.limbs.replaceChildren(...lines);
  }

  /** Write the pose, and remember what was there. */
  commit(text) {
    const before = this.text;
    if (text === before) return this.draw();
    this.past.push(before);
    this.future = [];
    write(this.node, INPUT, text);
  }

  undo() {
    this.step(this.past, this.future);
  }

  redo() {
    this.step(this.future, this.past);
  }

  step(from, to) {
    if (from.length === 0 || this.isReadOnly()) return;
    to.push(this.text);
    write(this.node, INPUT, from.pop());
  }

  /** Change all faces of the pose by a function of pose.js. */
  change(how, ...values) {
    const pose = this.isReadOnly() ? null : this.pose();
    if (pose) this.commit(poses.writePose({ ...pose, faces: how(pose.faces, ...values) }));
  }

  /** The faces of a pose after one handle, or everything, has moved; a handle stays inside the picture. */
  movedBy(faces, handle, change) {
    const place = this.handles.indexOf(handle);
    if (place < 0) return poses.moved(faces, change);
    const [face, kind] = [Math.floor(place / poses.POINTS.length), place % poses.POINTS.length];
    const within = faces[face][kind].map((value, axis) => {
      const [low, high] = [Math.min(0, value), Math.max(this.stage.size[axis], value)];
      return Math.min(high, Math.max(low, value + change[axis])) - value;
    });
    return poses.movedPoint(faces, face, kind, within);
  }

  onDown(event) {
    if (event.button !== 0 || this.isReadOnly()) return;
    const pose = this.pose();
    if (!pose) return;
    const target = event.target.closest("input") ?? this.whole;
    target.focus({ preventScroll: true });
    this.stage.stage.setPointerCapture(event.pointerId);
    this.drag = { target, pose, from: this.stage.point(event), now: pose };
  }

  onMove(event) {
    if (!this.drag) return;
    const { target, pose, from } = this.drag;
    const change = this.stage.point(event).map((value, axis) => value - from[axis]);
    this.drag.now = { ...pose, faces: this.movedBy(pose.faces, target, change) };
    this.draw(this.drag.now);
  }

  onUp() {
    const drag = this.drag;
    this.drag = undefined;
    // A mere click changes nothing: what was found in the photograph is not yet posed by hand.
    if (drag && drag.now !== drag.pose) this.commit(poses.writePose(drag.now));
  }

  onCancel() {
    this.drag = undefined;
    this.draw();
  }

  /** The wheel scales while the editor has the focus; else it is the canvas's. */
  onWheel(event) {
    if (!this.root.contains(document.activeElement) || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.change(poses.scaled, (event.deltaY || event.deltaX) < 0 ? STEP.size : 1 / STEP.size);
  }

  onKey(event) {
    const key = event.key.toLowerCase();
    const actions = { "+": "larger", "=": "larger", "-": "smaller", "[": "left", "]": "right", m: "mirror" };
    const act = () => {
      if (event.ctrlKey || event.metaKey) {
        if (key === "y" || (key === "z" && event.shiftKey)) return () => this.redo();
        return key === "z" ? () => this.undo() : undefined;
      }
      if (event.key in ARROWS && event.target.matches(".likeness-handle, .likeness-whole")) {
        const change = ARROWS[event.key].map((value) => value * (event.shiftKey ? 10 : 1));
        return () => this.change((faces) => this.movedBy(faces, event.target, change));
      }
      return actions[key] && !event.altKey ? () => this.actions[actions[key]].click() : undefined;
    };
    const found = act();
    if (!found) return;
    event.preventDefault();
    event.stopPropagation();
    found();
  }
}

export function addPoseEditor(node) {
  return new PoseEditor(node);
}
