/**
 * Draws a group of tables as one SVG, a panel of horizontal bars per table: medians, a line from the lowest to the highest
 * round, a dashed line at the better peer, and the ratio to it after each bar. Suits light and dark pages.
 */
import { median, type Spread, spread } from './stats.ts'
import { betterPeer, type Column, type Group, ratio, type Table, valuesOf } from './table.ts'

const width = 820
const left = 240
const barsWidth = 390
const rowHeight = 26
const barHeight = 15
const panelHead = 46
const panelGap = 18

export function plot({ title, at, machine, rounds, seconds, tables }: Group): string {
  const panels: string[] = []
  let y = 86
  for (const table of tables) {
    for (const column of table.columns.filter((column, i) => i === 0 || column.plotted)) {
      const lines = linesOf(table, column)
      if (lines.length === 0) continue
      panels.push(panel(table, column, lines, y))
      y += panelHead + lines.length * rowHeight + panelGap
    }
  }
  const foot = [
    `${at ? `${at.slice(0, 10)}, ` : ''}${machine.cpu}, ${machine.cores} cores, kernel ${machine.kernel}, congestion control ${machine.congestionControl}`,
    `Node ${machine.node}, HAProxy ${machine.haproxy}, nginx ${machine.nginx}; medians of ${rounds} alternating rounds of ${seconds} s`,
  ]
  const height = y + 44
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${escaped(title)}">
<style>${style}</style>
<rect class="page" width="${width}" height="${height}" rx="10"/>
<text class="title" x="28" y="42">${escaped(title)}</text>
<text class="small" x="28" y="63">Less is better. The thin line spans the lowest to the highest round, the dashed line marks the better peer.</text>
${panels.join('\n')}
${foot.map((text, i) => `<text class="small" x="28" y="${y + 12 + i * 16}">${escaped(text)}</text>`).join('\n')}
</svg>
`
}

interface Line {
  readonly name: string
  readonly value: Spread
  readonly ratio: number | undefined
  readonly kind: 'product' | 'engine' | 'peer' | 'other'
}

function linesOf(table: Table, column: Column): Line[] {
  const peer = betterOf(table, column)
  return table.rows.flatMap(({ name }): Line[] => {
    const value = spread(valuesOf(table, name, column))
    return value ? [{ name, value, ratio: ratio(table, name, peer, column)?.median, kind: kindOf(name, table) }] : []
  })
}

/** The better peer in this column: the one with less CPU may have more latency. */
function betterOf(table: Table, column: Column): string | undefined {
  return betterPeer({ ...table, columns: [column] })
}

function kindOf(name: string, { peers }: Table): Line['kind'] {
  if (peers.includes(name)) return 'peer'
  if (name.startsWith('starlane')) return 'product'
  return name.endsWith(' alone') ? 'engine' : 'other'
}

function panel(table: Table, column: Column, lines: readonly Line[], top: number): string {
  const most = Math.max(...lines.map(({ value }) => Math.max(value.median * 1.04, capped(value)))) || 1
  const x = (value: number) => left + (Math.min(value, most) / most) * barsWidth
  const first = top + panelHead
  const bars = lines.map((line, i) => bar(line, column, first + i * rowHeight, x))
  const peer = betterOf(table, column)
  const mark = peer && median(valuesOf(table, peer, column))
  const dashed = mark
    ? `<line class="mark" x1="${px(x(mark))}" x2="${px(x(mark))}" y1="${first - 6}" y2="${first + lines.length * rowHeight - 4}"/>`
    : ''
  const against = peer
    ? `<text class="small" x="${width - 28}" y="${top + 30}" text-anchor="end">x ${escaped(peer)}</text>`
    : ''
  return `<text class="head" x="28" y="${top + 14}">${escaped(table.title)}</text>
<text class="small" x="28" y="${top + 30}">${escaped(column.title)}</text>
${against}
${dashed}
${bars.join('\n')}`
}

/** Limits the scale, so that a single bad round does not shrink all bars. */
function capped({ median, high }: Spread): number {
  return Math.min(high, median * 1.6)
}

function bar({ name, value, ratio, kind }: Line, { digits }: Column, y: number, x: (value: number) => number): string {
  const middle = y + barHeight / 2
  const [end, low, high] = [x(value.median), x(value.low), x(value.high)]
  const text = Math.max(end, high) + 8
  return `<text class="${kind === 'product' || kind === 'engine' ? 'own' : 'name'}" x="${left - 12}" y="${px(middle + 4.5)}" text-anchor="end">${escaped(name)}</text>
<rect class="${kind}" x="${left}" y="${px(y)}" width="${px(Math.max(end - left, 1.5))}" height="${barHeight}" rx="3"/>
<line class="span" x1="${px(low)}" x2="${px(high)}" y1="${px(middle)}" y2="${px(middle)}"/>
<text class="value" x="${px(text)}" y="${px(middle + 4.5)}">${value.median.toFixed(digits)}</text>
${ratio === undefined ? '' : `<text class="${ratioClass(kind, ratio)}" x="${width - 28}" y="${px(middle + 4.5)}" text-anchor="end">${ratio.toFixed(2)}</text>`}`
}

/** By whether the row is ahead of the better peer; plain for rows that are not Starlane's. */
function ratioClass(kind: Line['kind'], ratio: number): string {
  if (kind === 'peer' || kind === 'other') return 'value'
  return ratio <= 1 ? 'ratio ahead' : 'ratio'
}

export const px = (value: number): string => String(Math.round(value * 10) / 10)

export function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')
}

export const style = `
svg { --page: #ffffff; --ink: #1f2328; --soft: #656d76; --product: #2458c5; --engine: #7ea6ee; --peer: #c3c9d1; --other: #e2e6ea; --span: #1f2328; --ahead: #1a7f37 }
@media (prefers-color-scheme: dark) {
  svg { --page: #0d1117; --ink: #e6edf3; --soft: #8d96a0; --product: #5b93ff; --engine: #31589c; --peer: #545b65; --other: #2b3138; --span: #e6edf3; --ahead: #3fb950 }
}
text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; font-size: 13px; fill: var(--ink) }
.page { fill: var(--page) } .title { font-size: 20px; font-weight: 650 } .head { font-size: 14px; font-weight: 600 }
.small { font-size: 11.5px; fill: var(--soft) } .name { fill: var(--soft) } .own { font-weight: 600 }
.value { paint-order: stroke; stroke: var(--page); stroke-width: 4px; fill: var(--soft); font-variant-numeric: tabular-nums } .ratio { font-weight: 600; font-variant-numeric: tabular-nums }
.ahead { fill: var(--ahead) }
.product { fill: var(--product) } .engine { fill: var(--engine) } .peer { fill: var(--peer) } .other { fill: var(--other) }
.span { stroke: var(--span); stroke-width: 1.2; opacity: 0.55 }
.mark { stroke: var(--ink); stroke-width: 1; stroke-dasharray: 3 3; opacity: 0.75 }
`
