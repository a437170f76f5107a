/** What the widgets share: elements, values of ordinary widgets, a place on the node, what the last run showed. */

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";

const SHOWN = "likeness_faces"; // the key under which a node's ui has pictures and faces

/** An element with attributes; `text` is its text. */
export function make(tag, { text, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  element.append(...children);
  return element;
}

/** A small button of a bar; `label` is what it does, in words. */
export function button(label, sign, onClick) {
  const made = make("button", { type: "button", class: "likeness-button", "aria-label": label, title: label, text: sign });
  made.addEventListener("click", onClick);
  return made;
}

/** Call `after` whenever a method of an object has run, whoever else has put something there. */
export function chain(object, name, after) {
  const before = object[name];
  object[name] = function (...values) {
    const result = before?.apply(this, values);
    after.apply(this, values);
    return result;
  };
}

export function widgetOf(node, name) {
  return node.widgets?.find((widget) => widget.name === name);
}

/** Whether a widget's value comes over a link, so that what it holds counts for nothing. */
export function isLinked(node, name) {
  const slot = node.inputs?.findIndex((input) => input.widget?.name === name) ?? -1;
  return slot >= 0 && node.isInputConnected(slot);
}

/** Put a value into an ordinary widget as if it had been typed; the page can undo it. */
export function write(node, name, value) {
  const widget = widgetOf(node, name);
  if (widget.value === value) return;
  app.canvas.emitBeforeChange();
  widget.value = value;
  widget.callback?.(value);
  app.canvas.emitAfterChange();
  app.canvas.setDirty(true, true);
}

/** Call `redraw` when one of these widgets changes, by hand or because a workflow was loaded. */
export function follow(node, names, redraw) {
  for (const name of names) chain(widgetOf(node, name), "callback", redraw);
  chain(node, "onConfigure", redraw);
  chain(node, "onConnectionsChange", redraw);
}

/** Call `show` with the pictures of every run of this node; an earlier run is brought back only before the first. */
export function onShown(node, show) {
  let isShown = false;
  const now = (pictures) => {
    isShown = true;
    show(pictures);
  };
  chain(node, "onExecuted", (output) => output?.[SHOWN] && now(output[SHOWN]));
  chain(node, "likenessRestore", (pictures, isLatest) => (isLatest || !isShown) && now(pictures));
}

/** Hand outputs of a run, by the nodes' places, to the nodes that listen. `isLatest`: whether it has just ended. */
export function restore(outputs, isLatest = false) {
  const root = app.rootGraph ?? app.graph;
  for (const graph of [root, ...(root?.subgraphs?.values() ?? [])]) {
    for (const node of graph?.nodes ?? []) {
      const pictures = outputs?.[graph === root ? node.id : `${graph.id}:${node.id}`]?.[SHOWN];
      if (pictures) node.likenessRestore?.(pictures, isLatest);
    }
  }
}

/** What the server remembers of runs, by their ids: of its latest ones, or of one; nothing if no node here listens. */
async function remembered(which = "?max_items=32") {
  if (!(app.rootGraph ?? app.graph).nodes.some((node) => node.likenessRestore)) return {};
  const answer = await api.fetchApi(`/history${which}`);
  return answer.ok ? answer.json() : {};
}

const latestFirst = (runs) => runs.sort((one, other) => other.prompt[0] - one.prompt[0]); // by their number in the queue

/** Whether a node, and all that it takes from, is the same in two prompts in API format; `seen` is what is compared. */
function isSame(one, other, id, seen = new Set()) {
  if (seen.has(id)) return true;
  seen.add(id);
  const [node, twin] = [one[id], other[id]];
  if (!node || !twin || node.class_type !== twin.class_type) return false;
  const names = new Set([...Object.keys(node.inputs), ...Object.keys(twin.inputs)]);
  return [...names].every((name) => {
    const value = node.inputs[name];
    if (JSON.stringify(value) !== JSON.stringify(twin.inputs[name])) return false;
    return !(Array.isArray(value) && value[0] in one) || isSame(one, other, value[0], seen);
  });
}

/**
 * What a run has for every node. Of those that it had not to run the server tells nothing: what they show is in the latest
 * of `runs` that had the same node with the same inputs.
 */
function outputsOf(run, runs) {
  const outputs = { ...run.outputs };
  for (const earlier of latestFirst(Object.values(runs))) {
    for (const [node, output] of Object.entries(earlier.outputs)) {
      if (!(node in outputs) && isSame(run.prompt[2], earlier.prompt[2], node)) outputs[node] = output;
    }
  }
  return outputs;
}

const isOf = (run, graph) => run.prompt[3]?.extra_pnginfo?.workflow?.id === graph.id;

/** Bring back what this workflow's latest runs have shown, after the page was loaded anew. */
export async function restoreFromHistory() {
  const graph = app.rootGraph ?? app.graph;
  const runs = await remembered();
  const own = latestFirst(Object.values(runs).filter((run) => isOf(run, graph)));
  if (graph === (app.rootGraph ?? app.graph)) for (const run of own) restore(outputsOf(run, runs));
}

/** Show what a run that has just ended has for every node. */
export async function showRun(id) {
  const graph = app.rootGraph ?? app.graph;
  let run;
  for (let attempt = 0; !run && attempt < 10; attempt++) {
    if (attempt) await new Promise((resolve) => setTimeout(resolve, 200)); // it is remembered a moment after its end
    run = (await remembered(`/${id}`))[id];
  }
  if (!run || !isOf(run, graph)) return;
  const isWhole = graph.nodes.every((node) => !node.likenessRestore || node.id in run.outputs);
  const outputs = isWhole ? run.outputs : outputsOf(run, await remembered());
  if (graph === (app.rootGraph ?? app.graph)) restore(outputs, true); // no other workflow was opened meanwhile
}

/** The address of a picture that the server keeps. */
export function address({ filename, subfolder, type }) {
  return api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
}

/**
 * An element's place on a node, hidden until `show`. It is no part of the saved workflow or of what is queued, and the
 * right-hand panel, which would take the element from the node, does not get it.
 */
export class Panel {
  constructor(node, name, root, height) {
    this.root = root;
    root.style.minHeight = `${height}px`;
    letCanvasMove(root);
    // There from the start: Vue nodes of older front ends show no widget that comes later.
    this.widget = node.addDOMWidget(name, "likeness", root, {
      serialize: false,
      hideOnZoom: false,
      // The classic canvas of older front ends gives hidden widgets their room too.
      getMinHeight: () => (root.hidden ? 0 : height),
      getMaxHeight: () => (root.hidden ? 0 : undefined),
      getValue: () => "",
      setValue() {},
      surfaces: { canvas: "shown", vueNode: "shown", panel: "never" },
    });
    this.widget.serialize = false;
    this.hide();
  }

  show() {
    this.setHidden(false);
  }

  hide() {
    this.setHidden(true);
  }

  setHidden(isHidden) {
    this.root.hidden = isHidden; // Vue nodes
    this.widget.hidden = isHidden; // the classic canvas
  }
}

/** Dragging stays with the element; the middle button and the wheel, unless it is taken, move the canvas. */
function letCanvasMove(root) {
  // Only the classic canvas lies beside the element; around a Vue node such events rise to the canvas by themselves.
  const isClassic = () => root.closest(".dom-widget") !== null;
  const isMiddle = (event) => event.button === 1 || (event.buttons & 4) === 4;
  const handlers = { pointerdown: "processMouseDown", pointermove: "processMouseMove", pointerup: "processMouseUp" };
  for (const [type, handler] of Object.entries(handlers)) {
    root.addEventListener(type, (event) => {
      if (!isMiddle(event)) event.stopPropagation();
      else if (isClassic()) app.canvas[handler](event);
    });
  }
  root.addEventListener(
    "wheel",
    (event) => {
      if (event.defaultPrevented) event.stopPropagation();
      else if (isClassic()) app.canvas.processMouseWheel(event);
    },
    { passive: false },
  );
}

/** A picture that fills what room there is without being stretched, with things placed on it in its own pixels. */
export class Stage {
  constructor() {
    this.image = make("img", { class: "likeness-picture", alt: "", draggable: "false" });
    this.image.addEventListener("error", () => this.image.removeAttribute("src"));
    this.stage = make("div", { class: "likeness-stage" }, this.image);
    this.area = make("div", { class: "likeness-area" }, this.stage);
    this.setSize([1, 1]);
  }

  setSize(size) {
    this.size = size;
    this.stage.style.setProperty("--ratio", size[0] / size[1]);
  }

  setPicture(picture) {
    const source = picture && address(picture);
    if (!source) this.image.removeAttribute("src");
    else if (this.image.getAttribute("src") !== source) this.image.setAttribute("src", source);
  }

  place(element, [x, y], [width, height] = []) {
    const share = (value, side) => `${(100 * value) / this.size[side]}%`;
    element.style.left = share(x, 0);
    element.style.top = share(y, 1);
    if (width === undefined) return;
    element.style.width = share(width, 0);
    element.style.height = share(height, 1);
  }

  /** Where a pointer is, in pixels of the picture, whatever the zoom of the canvas. */
  point(event) {
    const shown = this.stage.getBoundingClientRect();
    return [
      ((event.clientX - shown.left) / shown.width) * this.size[0],
      ((event.clientY - shown.top) / shown.height) * this.size[1],
    ];
  }
}
