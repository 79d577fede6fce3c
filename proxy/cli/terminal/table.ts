/** Tables, columns, counts and durations as text. */
import { stripVTControlCharacters } from 'node:util'

/** A column title in capitals. One that ends in a space is a column of numbers, aligned right. */
export type Head = string

/** Columns of minimal width with two spaces between them and no trailing spaces. */
export function table(
  heads: readonly Head[],
  rows: readonly (readonly string[])[],
  paintHead = (text: string) => text,
): string {
  const widths = heads.map((head, i) => Math.max(...[head.trim(), ...rows.map(row => row[i] ?? '')].map(widthOf)))
  const line = (cells: readonly string[]) =>
    heads
      .map((head, i) => pad(cells[i] ?? '', widths[i] ?? 0, head.endsWith(' ')))
      .join('  ')
      .trimEnd()
  return [paintHead(line(heads.map(head => head.trim()))), ...rows.map(line)].map(text => `${text}\n`).join('')
}

/** As {@link table}, with the first column cut so that the lines fit in `width`; undefined: as wide as they are. */
export function fitted(
  heads: readonly Head[],
  rows: readonly (readonly string[])[],
  width: number | undefined,
  paintHead?: (text: string) => string,
): string {
  const text = table(heads, rows, paintHead)
  const over = width === undefined ? 0 : Math.max(...text.split('\n').map(widthOf)) - width
  const first = Math.max(...rows.map(([cell = '']) => widthOf(cell)), widthOf(heads[0] ?? ''))
  const most = Math.max(first - over, leastFirst)
  if (over <= 0 || first <= most) return text
  const cut = (cell: string) => (widthOf(cell) > most ? `${stripVTControlCharacters(cell).slice(0, most - 1)}…` : cell)
  return table(
    heads,
    rows.map(([cell = '', ...rest]) => [cut(cell), ...rest]),
    paintHead,
  )
}

const leastFirst = 12

/** Lines of at most `width` characters, cut at spaces; a longer word has a line of its own. */
export function wrapped(text: string, width: number): string[] {
  const lines: string[] = []
  for (const word of text.split(' ')) {
    const last = lines.at(-1)
    if (last !== undefined && last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`
    else lines.push(word)
  }
  return lines
}

/** Rows without titles. */
export function columns(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map(row => widthOf(row[i] ?? ''))))
  return rows
    .map(
      row =>
        `${row
          .map((cell, i) => pad(cell, widths[i] ?? 0, false))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('')
}

/** `1 service`, `2 services`. */
export function count(n: number, noun: string, plural = `${noun}s`): string {
  return `${n} ${n === 1 ? noun : plural}`
}

/** `12s`, `3m20s`, `2h5m`, `4d1h`: at most two units. */
export function span(ms: number): string {
  const s = Math.max(0, Math.round(ms / 1000))
  if (s < 60) return `${s}s`
  if (s < 3600) return two(s, 60, 'm', 's')
  if (s < 86_400) return two(Math.floor(s / 60), 60, 'h', 'm')
  return two(Math.floor(s / 3600), 24, 'd', 'h')
}

/** `0.4ms`, `12ms`, `3.5s`, then as {@link span}. */
export function durationOf(ms: number): string {
  if (ms < 10) return `${Math.round(ms * 10) / 10}ms`
  if (ms < 1000) return `${Math.round(ms)}ms`
  return ms < 60_000 ? `${Math.round(ms / 100) / 10}s` : span(ms)
}

/** `120 B`, `4.1 kB`, `12 MB`: powers of 1000, at most three digits. */
export function bytesText(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB']
  let value = bytes
  let unit = 0
  for (; value >= 999.5 && unit < units.length - 1; unit++) value /= 1000
  return `${unit > 0 && value < 9.95 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`
}

function two(small: number, size: number, big: string, unit: string): string {
  return small % size === 0 ? `${small / size}${big}` : `${Math.floor(small / size)}${big}${small % size}${unit}`
}

function pad(cell: string, width: number, right: boolean): string {
  const space = ' '.repeat(Math.max(0, width - widthOf(cell)))
  return right ? space + cell : cell + space
}

function widthOf(cell: string): number {
  return stripVTControlCharacters(cell).length
}
