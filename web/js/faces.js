/** Face numbers and the index that names them: "all", or numbers such as "0,2". */

export const LARGEST = "largest"; // the order of nodes that have no choice of it

/** The number of a face in an order; an order that comes over a link is not known here, and the largest is first. */
export function numberOf(face, order) {
  return face.numbers[order] ?? face.numbers[LARGEST];
}

/** The numbers that an index names, as a set; `numbers` are those that "all" stands for. */
export function chosen(index, numbers) {
  const text = String(index).trim();
  if (text === "all") return new Set(numbers);
  return new Set(text.split(",").filter((part) => /^\s*\d+\s*$/.test(part)).map(Number));
}

/**
 * The index after a click on a face. With `add` the face joins or leaves the chosen, of which one stays; without it
 * the face is chosen alone, and one that is alone already gives way to `usual`. `isAll`: whether everybody who is chosen
 * may be called "all".
 */
export function toggled(index, numbers, number, { add, isAll, usual }) {
  const picked = chosen(index, numbers);
  if (!add) return picked.size === 1 && picked.has(number) ? usual : String(number);
  if (!picked.delete(number)) picked.add(number);
  if (picked.size === 0) return index;
  if (isAll && numbers.every((known) => picked.has(known))) return "all";
  return [...picked].sort((one, other) => one - other).join(",");
}
