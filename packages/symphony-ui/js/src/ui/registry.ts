// The components by their types.

import type { ComponentType } from "preact";
import type { ViewSpec } from "../core/types.ts";
import { Annotate } from "./annotate.tsx";
import { Choropleth } from "./choropleth.tsx";
import { Confusion } from "./confusion.tsx";
import { Duplicates } from "./duplicates.tsx";
import { Familiarity } from "./familiarity.tsx";
import { Heatmap } from "./heatmap.tsx";
import { Instances } from "./instances.tsx";
import { Lines } from "./lines.tsx";
import { Markdown } from "./markdown.tsx";
import { Scatter } from "./scatter.tsx";
import { Subgroups } from "./subgroups.tsx";
import { Summary } from "./summary.tsx";
import { Compare, Table } from "./table.tsx";
import { Vega } from "./vega.tsx";

export const COMPONENTS: Record<string, ComponentType<{ view: ViewSpec }>> = {
  summary: Summary,
  table: Table,
  instances: Instances,
  scatter: Scatter,
  duplicates: Duplicates,
  familiarity: Familiarity,
  confusion: Confusion,
  subgroups: Subgroups,
  lines: Lines,
  heatmap: Heatmap,
  compare: Compare,
  annotate: Annotate,
  markdown: Markdown,
  choropleth: Choropleth,
  vega: Vega,
};
