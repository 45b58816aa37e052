// The components by their types.

import type { ComponentType } from "preact";
import type { ViewSpec } from "../core/types.ts";
import { Scatter } from "./scatter.tsx";
import { Summary } from "./summary.tsx";
import { Table } from "./table.tsx";

export const COMPONENTS: Record<string, ComponentType<{ view: ViewSpec }>> = {
  summary: Summary,
  table: Table,
  scatter: Scatter,
};
