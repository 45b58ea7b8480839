/* How the scripts make elements: text goes in as text and never as markup. */
(function () {
  'use strict';

  /** An element with properties and children; a string child is text. */
  function node(tag, properties, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  /** The same with attributes that are no properties, such as aria-label. */
  function marked(made, attributes) {
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  }

  window.molebench = Object.assign(window.molebench || {}, { node, marked });
})();
