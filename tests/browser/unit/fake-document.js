// A document of a few lines: what paint.js asks of one, and the tree as text for comparing.

class FakeText {
  /** @param {string} data */
  constructor(data) {
    this.data = data;
  }
  /** @param {string} more */
  appendData(more) {
    this.data += more;
  }
  toString() {
    return JSON.stringify(this.data);
  }
}

export class FakeElement {
  /** @param {string} tag */
  constructor(tag) {
    this.tag = tag;
    /** @type {Map<string, string>} */
    this.attributes = new Map();
    /** @type {(FakeElement|FakeText)[]} */
    this.children = [];
    this.classList = { add() {} };
  }
  addEventListener() {}
  replaceChildren() {
    this.children = [];
  }
  get firstChild() {
    return this.children[0];
  }
  /** @param {string} name @param {string} value */
  setAttribute(name, value) {
    this.attributes.set(name, value);
  }
  /** @param {FakeElement|FakeText} child */
  appendChild(child) {
    this.children.push(child);
  }
  /** @param {FakeElement|FakeText} made @param {FakeElement|FakeText} old */
  replaceChild(made, old) {
    this.children.splice(this.find(old), 1, made);
  }
  /** @param {FakeElement|FakeText} child */
  removeChild(child) {
    this.children.splice(this.find(child), 1);
  }
  /** @param {FakeElement|FakeText} child */
  find(child) {
    const at = this.children.indexOf(child);
    if (at < 0) throw new Error('not a child of this element');
    return at;
  }
  /** All elements with this tag, in order. @param {string} tag @returns {FakeElement[]} */
  all(tag) {
    const within = this.children.flatMap((child) => (child instanceof FakeElement ? child.all(tag) : []));
    return this.tag === tag ? [this, ...within] : within;
  }
  /** @returns {string} */
  get text() {
    return this.children.map((child) => (child instanceof FakeElement ? child.text : child.data)).join('');
  }
  /** How deep elements stand in each other. @returns {number} */
  get depth() {
    return 1 + Math.max(0, ...this.children.map((child) => (child instanceof FakeElement ? child.depth : 0)));
  }
  /** @returns {string} */
  toString() {
    const attributes = [...this.attributes].map(([name, value]) => ` ${name}=${JSON.stringify(value)}`).join('');
    return `<${this.tag}${attributes}>${this.children.join('')}</${this.tag}>`;
  }
}

/** @type {any} as much of a document as painting needs */
export const fakeDocument = {
  createElement: (/** @type {string} */ tag) => new FakeElement(tag),
  createTextNode: (/** @type {string} */ data) => new FakeText(data),
};
