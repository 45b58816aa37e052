// Stands in for flechette's Table (build.mjs puts it in its place): columns by place and name, no rows as objects.

export class Table {
  constructor(schema, children) {
    this.schema = schema;
    this.children = children;
  }
  getChildAt(k) {
    return this.children[k];
  }
  getChild(name) {
    return this.children[this.schema.fields.findIndex((f) => f.name === name)];
  }
}
