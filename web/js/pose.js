/** Landmarks of faces as numbers: reading and writing the node's JSON, moving, scaling, turning, mirroring. */

export const POINTS = ["left eye", "right eye", "nose", "left mouth corner", "right mouth corner"];
export const NOSE = 2;
const MIRRORED = [1, 0, 2, 4, 3]; // which point stands where after left and right have changed places

/** What is shown where nothing is known: somebody who looks straight at the camera. */
export const NEUTRAL = { size: [512, 512], faces: [[[204, 222], [308, 222], [256, 280], [214, 338], [298, 338]]] };

const isPoint = (value) => Array.isArray(value) && value.length === 2 && value.every(Number.isFinite);
const isFace = (value) => Array.isArray(value) && value.length === POINTS.length && value.every(isPoint);

/** {size, faces} of the node's JSON, with `size` undefined where it has none; null if it is no such JSON. */
export function parsePose(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  const size = value?.size;
  if (value !== null && typeof value === "object" && !Array.isArray(value)) value = value.faces;
  if (isFace(value)) value = [value];
  const isSize = size === undefined || (isPoint(size) && size.every((side) => Number.isInteger(side) && side > 0));
  return isSize && Array.isArray(value) && value.length && value.every(isFace) ? { size, faces: value } : null;
}

/** The node's JSON of a pose, to a hundredth of a pixel. */
export function writePose({ size, faces }) {
  const rounded = faces.map((face) => face.map((point) => point.map((value) => Math.round(value * 100) / 100)));
  return JSON.stringify(size === undefined ? { faces: rounded } : { size, faces: rounded });
}

const mapped = (faces, change) => faces.map((face) => face.map(change));

/** The mean of all points, about which faces are scaled and turned. */
export function center(faces) {
  const points = faces.flat();
  return [0, 1].map((axis) => points.reduce((sum, point) => sum + point[axis], 0) / points.length);
}

export function moved(faces, [right, down]) {
  return mapped(faces, ([x, y]) => [x + right, y + down]);
}

export function movedPoint(faces, face, point, change) {
  return faces.map((points, at) => (at === face ? points.with(point, moved([[points[point]]], change)[0][0]) : points));
}

export function scaled(faces, factor) {
  const [middleX, middleY] = center(faces);
  return mapped(faces, ([x, y]) => [middleX + (x - middleX) * factor, middleY + (y - middleY) * factor]);
}

/** Turned clockwise as seen, in degrees. */
export function turned(faces, degrees) {
  const [middleX, middleY] = center(faces);
  const cos = Math.cos((degrees * Math.PI) / 180);
  const sin = Math.sin((degrees * Math.PI) / 180);
  return mapped(faces, ([x, y]) => [
    middleX + (x - middleX) * cos - (y - middleY) * sin,
    middleY + (x - middleX) * sin + (y - middleY) * cos,
  ]);
}

/** Left and right changed; the left eye is again the one at the left of the picture. */
export function mirrored(faces) {
  const [middleX] = center(faces);
  const flipped = mapped(faces, ([x, y]) => [2 * middleX - x, y]);
  return flipped.map((face) => MIRRORED.map((point) => face[point]));
}
