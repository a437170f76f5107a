/**
 * The photograph with a numbered box around each face. A click chooses a face, with shift or ctrl one more; a second
 * click on the only one goes back to what the input has by itself.
 */

import { button, follow, isLinked, make, onShown, Panel, Stage, widgetOf, write } from "./common.js";
import { chosen, LARGEST, numberOf, toggled } from "./faces.js";

const HEIGHT = 260;

function described(names, count) {
  if (count === 1) return names.length ? "The only face" : "Nobody: there is only face 0";
  if (names.length === count) return `All ${count} faces`;
  return `${names.join(", ") || "None"} of ${count} faces`;
}

class FacePicker {
  /** `input`: the widget to write. `usual`: its value before anybody has chosen. */
  constructor(node, input, usual) {
    Object.assign(this, { node, input, usual, pictures: [], at: 0 });
    this.stage = new Stage();
    this.status = make("span", { class: "likeness-status", role: "status" });
    this.earlier = button("Picture before", "‹", () => this.turn(-1));
    this.later = button("Next picture", "›", () => this.turn(1));
    this.all = button("Choose all faces", "All", () => write(node, input, "all"));
    const bar = make("div", { class: "likeness-bar" }, this.earlier, this.later, this.status, this.all);
    const root = make("div", { class: "likeness likeness-picker", role: "group", "aria-label": `Choose faces: ${input}` }, this.stage.area, bar);
    this.panel = new Panel(node, "face_picker", root, HEIGHT);
    follow(node, widgetOf(node, "order") ? [input, "order"] : [input], () => this.draw());
    onShown(node, (pictures) => this.show(pictures));
  }

  show(pictures) {
    // A run that did not look for faces, because it was told where they are, leaves nothing to choose from.
    this.pictures = pictures.filter((picture) => picture.faces.length);
    this.at = Math.min(this.at, Math.max(this.pictures.length - 1, 0));
    const most = Math.max(0, ...pictures.map((picture) => picture.faces.length));
    if (most < (this.usual === "all" ? 1 : 2)) return this.panel.hide();
    this.panel.show();
    this.draw();
  }

  turn(step) {
    this.at = (this.at + step + this.pictures.length) % this.pictures.length;
    this.draw();
  }

  numbers(picture) {
    const order = widgetOf(this.node, "order")?.value ?? LARGEST;
    return picture.faces.map((face) => numberOf(face, order));
  }

  draw() {
    const picture = this.pictures[this.at];
    if (!picture) return;
    const numbers = this.numbers(picture);
    const picked = chosen(widgetOf(this.node, this.input).value, numbers);
    const linked = isLinked(this.node, this.input);
    this.stage.setSize(picture.size);
    this.stage.setPicture(picture.picture);
    this.drawBoxes(picture, numbers, picked, linked);
    const single = this.pictures.length < 2;
    this.earlier.hidden = this.later.hidden = single;
    this.all.disabled = linked;
    const place = single ? "" : `Picture ${this.at + 1} of ${this.pictures.length}: `;
    const names = numbers.filter((number) => picked.has(number)).sort((one, other) => one - other);
    this.status.textContent = linked ? `${this.input} comes over a link` : place + described(names, numbers.length);
  }

  drawBoxes(picture, numbers, picked, linked) {
    const boxes = [...this.stage.stage.querySelectorAll(".likeness-face")];
    while (boxes.length > picture.faces.length) boxes.pop().remove();
    while (boxes.length < picture.faces.length) boxes.push(this.newBox(boxes.length));
    // They come largest first, so that a small one inside a large one lies on top.
    picture.faces.forEach(({ box: [left, top, right, bottom], confidence }, place) => {
      const box = boxes[place];
      const number = numbers[place];
      this.stage.place(box, [left, top], [right - left, bottom - top]);
      box.dataset.number = number;
      box.disabled = linked;
      box.firstChild.textContent = number;
      box.setAttribute("aria-pressed", picked.has(number));
      box.setAttribute("aria-label", `Face ${number}, ${Math.round(100 * confidence)} % sure`);
      box.title = `Face ${number}. With shift or ctrl: one more, or one less.`;
    });
  }

  newBox(place) {
    const box = make("button", { type: "button", class: "likeness-face" }, make("span"));
    box.addEventListener("click", (event) => {
      const numbers = this.numbers(this.pictures[this.at]);
      const add = event.shiftKey || event.ctrlKey || event.metaKey;
      const value = widgetOf(this.node, this.input).value;
      const isAll = this.pictures.length === 1; // another picture may have more faces
      write(this.node, this.input, toggled(value, numbers, numbers[place], { add, isAll, usual: this.usual }));
    });
    this.stage.stage.append(box);
    return box;
  }
}

export function addFacePicker(node, input, usual) {
  return new FacePicker(node, input, usual);
}
