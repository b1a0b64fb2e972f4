// Elements with text in them. Names, keys and errors are anybody's: all of them come to the page
// as text, through textContent, and what is too long is cut, with more of it as the title.

const LONGEST_TITLE = 2000;
const SVG = "http://www.w3.org/2000/svg";

/** Return the element of an id. */
export const find = (id) => document.getElementById(id);

/** Make an element: attributes, then children, which are elements or text. */
export function element(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** Make an element of a picture. */
export function shape(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** Write text where it differs from what stands there. */
export function write(node, text) {
  const shown = String(text);
  if (node.textContent !== shown) node.textContent = shown;
}

/** Set or remove an attribute where it differs. */
export function mark(node, name, value) {
  if (value === null || value === undefined || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else if (node.getAttribute(name) !== String(value)) {
    node.setAttribute(name, value);
  }
}

/** Write text that may be of any length: cut at a number of characters, the rest is its title. */
export function writeCut(node, text, most) {
  const whole = String(text);
  write(node, cut(whole, most));
  entitle(node, whole.length > most ? whole : null);
}

/** Write a name that may be of any length: cut in its middle, for the ends of names tell them apart. */
export function writeName(node, text, most) {
  const whole = String(text);
  write(node, cutMiddle(whole, most));
  entitle(node, whole.length > most ? whole : null);
}

/** Give an element a title, none if there is none. */
export function entitle(node, text) {
  mark(node, "title", text === null || text === undefined ? null : cut(text, LONGEST_TITLE));
}

/** Cut text at a number of characters, and not within one. */
export function cut(text, most) {
  if (text.length <= most) return text;
  const characters = Array.from(text.slice(0, most * 2));
  return characters.length > most ? `${characters.slice(0, most - 1).join("")}…` : text;
}

/** Cut text in its middle. */
export function cutMiddle(text, most) {
  const characters = Array.from(text.slice(0, 4096));
  if (characters.length <= most) return text;
  const tail = Math.floor((most - 1) / 2);
  return `${characters.slice(0, most - 1 - tail).join("")}…${characters.slice(-tail).join("")}`;
}

/**
 * Return what keeps a list of elements as wanted: those that stay are kept, so that a selection
 * and the focus outlast an update.
 *
 * @param {Element} parent what they stand in
 * @param {(item: object) => Element} make a new one
 * @param {(node: Element, item: object) => void} update one that is there
 */
export function keyed(parent, make, update) {
  const known = new Map();
  return (items, keyOf) => {
    const seen = new Set();
    let before = null;
    for (const item of items) {
      const key = keyOf(item);
      if (seen.has(key)) continue;
      seen.add(key);
      if (!known.has(key)) known.set(key, make(item));
      const node = known.get(key);
      update(node, item);
      const wanted = before ? before.nextSibling : parent.firstChild;
      if (wanted !== node) parent.insertBefore(node, wanted);
      before = node;
    }
    for (const [key, node] of known) {
      if (!seen.has(key)) {
        node.remove();
        known.delete(key);
      }
    }
  };
}
