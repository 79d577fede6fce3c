// One row of the table of services.

import { data } from './data.js'
import { amount, count, duration, give, hostText, make, percent, role, svg } from './elements.js'

const mostColumns = 6
/** Where the clusters share a column: two lines of so many letters. */
const letters = 48
const words = {
  unreachable: ['unreachable', 'bad'],
  reduced: ['reduced', 'warn'],
  empty: ['no backends', 'warn'],
  ok: ['', 'good'],
  none: ['', 'unsure'],
}

/** The clusters that have a column each; with many clusters, or little room, there is one column for all. */
export function columnClusters() {
  const names = data.status.clusters.map(({ name }) => name)
  const widthOfRest = 792
  const widthOfOne = 90
  return names.length > mostColumns || innerWidth < widthOfRest + widthOfOne * names.length ? undefined : names
}

export function headCells() {
  const names = columnClusters()
  const heads = ['Service', ...(names ?? ['Clusters'])]
  const figures = ['Conn./s', 'Open', 'Failed', 'Dial p99', 'Last 5 minutes']
  return [
    ...heads.map(text => role('columnheader', give(make('span.cut', text), { title: text }))),
    ...figures.map(text => role('columnheader', make('span.figure', text))),
  ]
}

/** The same text: the same row. */
export function rowText(row, rates, isOpen) {
  return JSON.stringify([row, rates, isOpen, columnClusters()])
}

export function serviceRow(row, key, isOpen, onToggle) {
  const rates = data.traffic.get(key)
  const [word, kind] = words[row.condition.state]
  const toggle = give(
    make(
      'button.toggle',
      make('span.top', make('b.cut', row.name), word ? make(`span.mark.${kind}`, word) : ''),
      make('span.soft.small.cut', placesText(row)),
    ),
    { type: 'button', ariaExpanded: `${isOpen}`, ariaLabel: spoken(row, rates), onclick: onToggle },
  )
  toggle.dataset.key = key
  const names = columnClusters()
  const chips = names
    ? names.map(name => role('cell', make('span.place', chip(name, row.clusters[name]))))
    : [role('cell', make('span.place.many', ...chipsOf(row.clusters)))]
  const figures = rates
    ? [
        amount(rates.perSecond),
        amount(rates.open),
        rates.failed > 0 ? percent(rates.failed) : '0%',
        duration(rates.dialP99),
      ]
    : ['', '', '', '']
  const units = ['/s', ' open', ' failed', ' p99']
  return role(
    'row',
    make(
      `div.row${isOpen ? '.opened' : ''}`,
      role('rowheader', make('span.name', toggle)),
      ...chips,
      ...figures.map((text, i) => {
        const bad = i === 2 && rates?.failed > 0
        return role('cell', make(`span.figure${bad ? '.bad' : ''}`, text, make('span.unit', text ? units[i] : '')))
      }),
      role('cell', make('span.figure.spark', ...sparkline(rates?.history))),
    ),
  )
}

/** The worst first; those that find no place are a number. */
function chipsOf(clusters) {
  const all = Object.entries(clusters).sort(([, [a, fitOfA]], [, [b, fitOfB]]) => fitOfA / a - fitOfB / b)
  const most = roomFor(all)
  const shown = all.slice(0, most).map(([name, counts]) => chip(name, counts))
  const rest = all.slice(most)
  if (rest.length === 0) return shown
  const text = rest.map(([name, [n, fit]]) => `${name}: ${fit} of ${n} fit`).join('; ')
  const more = make('span.chip.spare', `+${rest.length}`)
  return [...shown, role('img', give(more, { title: text, ariaLabel: text }))]
}

/** How many there is room for, and for the number of the others. */
function roomFor(clusters) {
  const ofRest = 6
  let [line, used] = [1, 0]
  for (const [at, [name, [all, fit]]] of clusters.entries()) {
    const width = `${name} ${fit}/${all}  `.length
    if (used > 0 && used + width > letters) [line, used] = [line + 1, 0]
    const isLast = at === clusters.length - 1
    if (line > 2 || (line === 2 && !isLast && used + width > letters - ofRest)) return Math.max(at, 1)
    used += width
  }
  return clusters.length
}

/** `cluster-1 3/4`: backends that are fit, of all. */
function chip(name, counts) {
  if (!counts) return make('span.chip.none', make('span.which', name), '–')
  const [all, fit, selected] = counts
  const kind = fit === 0 ? 'bad' : fit < all ? 'warn' : 'good'
  const text = `${name}: ${fit} of ${all} fit, ${selected} get new flows`
  const mark = make(`span.chip.${kind}${selected > 0 ? '' : '.spare'}`, make('span.which', name), `${fit}/${all}`)
  return role('img', give(mark, { title: text, ariaLabel: text }))
}

/** A line of the connections in each span. */
function sparkline(history) {
  if (!history || history.length < 2) return []
  const most = Math.max(...history, 1)
  const step = 100 / Math.max(59, history.length - 1)
  const start = 100 - step * (history.length - 1)
  const points = history
    .map((n, i) => `${(start + i * step).toFixed(1)},${(19 - (18 * n) / most).toFixed(1)}`)
    .join(' ')
  const picture = svg('svg', { viewBox: '0 0 100 20', preserveAspectRatio: 'none', 'aria-hidden': 'true' })
  picture.append(svg('polyline', { points, 'vector-effect': 'non-scaling-stroke' }))
  return [picture]
}

/** `10.96.0.10:80/TCP, 443/TCP` */
export function placesText({ namespace, frontends, headless }) {
  let last = ''
  const places = frontends.map(({ ip, port, protocol, refusing }) => {
    const host = ip === last ? '' : `${hostText(ip)}:`
    last = ip
    return `${host}${port}/${protocol}${refusing ? ' refusing' : ''}`
  })
  return `${namespace} · ${places.join(', ') || (headless ? 'headless' : 'no frontend here')}`
}

function spoken({ namespace, name, condition, clusters }, rates) {
  const sum = at => Object.values(clusters).reduce((all, counts) => all + counts[at], 0)
  const state = condition.state === 'none' ? 'not reached by an address here' : condition.state
  const traffic = rates
    ? `; ${amount(rates.perSecond)} connections a second, ${amount(rates.open)} open, ${percent(rates.failed)} failed`
    : '; no traffic'
  return `${namespace}/${name}: ${state}; ${sum(1)} of ${count(sum(0), 'backend')} fit${traffic}`
}
