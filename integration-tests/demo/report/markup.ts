const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/** For text between tags and within quoted attributes. */
export function escape(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character]!);
}

/** `children` are markup; attributes are escaped here. */
export function tag(name: string, attributes: Readonly<Record<string, string>>, children: readonly string[]): string {
  const all = Object.entries(attributes).map(([key, value]) => ` ${key}="${escape(value)}"`);
  return `<${name}${all.join("")}>${children.join("")}</${name}>`;
}
