const SVG = 'http://www.w3.org/2000/svg';

export const byId = (id) => document.getElementById(id);

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) element.setAttribute(name, value === true ? '' : value);
  }
  // Texts become text nodes: nothing here is ever read as markup.
  element.append(...children);
  return element;
}

export const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);

export const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

/** Touches the page only where something differs: a selection, the focus and a screen reader stay where they are. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setData(element, name, value) {
  if (element.dataset[name] !== value) element.dataset[name] = value;
}

/**
 * Keeps one child per item, by key, in the order of the items. Items may share a key: workers note the same change at the same time. A child
 * that has the focus is never taken out and put in again.
 */
export function keyed(parent, items, keyOf, make, update) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const counts = new Map();
  let place = parent.firstElementChild;
  for (const item of items) {
    const own = keyOf(item);
    const earlier = counts.get(own) ?? 0;
    counts.set(own, earlier + 1);
    const key = `${earlier} ${own}`;
    let child = known.get(key);
    known.delete(key);
    if (child === undefined) {
      child = make(item);
      child.dataset.key = key;
    }
    update(child, item);
    if (child === place) place = place.nextElementSibling;
    else if (child.contains(document.activeElement)) {
      while (place !== null && place !== child) {
        const next = place.nextElementSibling;
        child.after(place);
        place = next;
      }
      place = child.nextElementSibling;
    } else parent.insertBefore(child, place);
  }
  for (const child of known.values()) child.remove();
}
