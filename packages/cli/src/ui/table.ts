import { safeText } from './format.ts';

/** A column: its heading, and whether numbers stand flush right in it. */
export interface Column {
  readonly title: string;
  readonly isRight?: boolean;
}

/** Returns the lines of a table; the last column is not padded, and cut to fit `width` when that is given. */
export function tableLines(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  width?: number,
): string[] {
  const cells = [columns.map((column) => column.title), ...rows.map((row) => row.map(safeText))];
  const widths = columns.map((_, index) =>
    cells.reduce((most, row) => Math.max(most, (row[index] ?? '').length), 0),
  );
  return cells.map((row) => {
    const line = columns
      .map((column, index) => {
        const cell = row[index] ?? '';
        if (column.isRight === true) return cell.padStart(widths[index] ?? 0);
        return index === columns.length - 1 ? cell : cell.padEnd(widths[index] ?? 0);
      })
      .join('  ')
      .trimEnd();
    return width !== undefined && line.length > width ? `${line.slice(0, Math.max(1, width - 3))}...` : line;
  });
}
