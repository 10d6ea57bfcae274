// The page's elements.

/** The element with an id, of a class. */
export function element<E extends Element>(id: string, kind: abstract new (...args: never[]) => E): E {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page has no ${kind.name} #${id}`);
  return found;
}

export const button = (id: string): HTMLButtonElement => element(id, HTMLButtonElement);
export const input = (id: string): HTMLInputElement => element(id, HTMLInputElement);
export const select = (id: string): HTMLSelectElement => element(id, HTMLSelectElement);
export const form = (id: string): HTMLFormElement => element(id, HTMLFormElement);
export const box = (id: string): HTMLElement => element(id, HTMLElement);

/** A new element with text or children in it. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  content: string | Node[] = [],
  attributes: Record<string, string> = {},
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  if (typeof content === "string") made.textContent = content;
  else made.append(...content);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}
