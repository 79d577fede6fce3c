/** Draws the cost of a change against the size of the mesh as an SVG, in the style of the other plots. */
import { escaped, px, style } from '../report/plot.ts'
import { costOf, type Row, type Setting } from './page.ts'

const [width, height] = [820, 360]
const box = { left: 84, right: 784, top: 96, bottom: 282 }

export function scalePlot(rows: readonly Row[], { clusters, perSecond, machine }: Setting): string {
  const most = Math.max(...rows.map(({ mesh }) => mesh.endpoints))
  const highest = Math.max(...rows.map(costOf)) * 1.25
  const x = (endpoints: number) => box.left + (endpoints / most) * (box.right - box.left)
  const y = (cost: number) => box.bottom - (cost / highest) * (box.bottom - box.top)
  const points = rows.map(row => ({ x: x(row.mesh.endpoints), y: y(costOf(row)), row }))
  const line = points.map(({ x, y }) => `${px(x)},${px(y)}`).join(' ')
  const marks = points.map(
    ({ x, y, row }) => `<circle cx="${px(x)}" cy="${px(y)}" r="4.5" class="product"/>
<text class="value" x="${px(x)}" y="${px(y - 12)}" text-anchor="middle">${costOf(row).toFixed(0)}</text>
<text class="small" x="${px(x)}" y="${box.bottom + 20}" text-anchor="middle">${row.mesh.endpoints.toLocaleString('en')}</text>`,
  )
  const title = 'CPU of a change by the size of the mesh'
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${title}">
<style>${style}</style>
<rect class="page" width="${width}" height="${height}" rx="10"/>
<text class="title" x="28" y="42">${title}</text>
<text class="small" x="28" y="63">Microseconds of JavaScript's thread for a change, under ${perSecond.toLocaleString('en')} changes a second. Flat is better.</text>
<line class="span" x1="${box.left}" x2="${box.right}" y1="${box.bottom}" y2="${box.bottom}"/>
<polyline points="${line}" fill="none" stroke="var(--product)" stroke-width="2.2"/>
${marks.join('\n')}
<text class="small" x="${(box.left + box.right) / 2}" y="${box.bottom + 38}" text-anchor="middle">endpoints, in ${clusters} clusters</text>
<text class="small" x="28" y="${height - 14}">${escaped(`${machine.cpu}, ${machine.cores} cores, kernel ${machine.kernel}, Node ${machine.node}`)}</text>
</svg>
`
}
