// Who uses what, and where it goes: clients, services and clusters of the last minute, with a thread between those that have traffic.

import { data, keyOf } from './data.js'
import { $, amount, count, fill, give, make, percent, svg } from './elements.js'

const mostNodes = 8
/** With more failures than that, a thread is red. */
const failing = 0.05

/** `open` shows the row of a service. */
export function drawServiceMap(open) {
  const { nodes, threads, left } = graph()
  $('traffic').hidden = threads.length === 0
  for (const column of ['clients', 'services', 'clusters']) {
    const made = nodes[column].map(node => nodeItem(node, column, open))
    const rest = left[column] > 0 ? [make('li.soft.small', `and ${count(left[column], column.slice(0, -1))} more`)] : []
    fill(`map-${column}`, ...made, ...rest)
  }
  drawThreads()
}

function nodeItem({ key, text, rate, bad }, column, open) {
  const label = labelOf(text, column)
  const name =
    column === 'services' ? give(make('button.link', ...label), { type: 'button', onclick: () => open(key) }) : label
  const item = make('li.node', make('span.cut', ...[name].flat()), make(bad ? 'b.bad' : 'b', `${amount(rate)}/s`))
  item.dataset.key = key
  return give(item, { title: bad ? `${text}: ${percent(bad)} failed or refused` : text })
}

/** The namespace is apart, since it has a line of its own where there is little room. */
function labelOf(text, column) {
  const at = column === 'clusters' || /^[\d.]+\/|:/.test(text) ? -1 : text.indexOf('/')
  return at < 0 ? [text] : [make('span.namespace', text.slice(0, at + 1)), text.slice(at + 1)]
}

/** The busiest of each column, and what passes between them. */
function graph() {
  const all = [...data.traffic.values()].filter(({ perSecond, refused, failed }) => perSecond + refused + failed > 0)
  const services = all.sort((a, b) => b.perSecond - a.perSecond).slice(0, mostNodes)
  const shown = new Set(services.map(keyOf))
  const clients = groups(data.clients.filter(each => each.services.some(({ service }) => shown.has(service))))
  const used = new Set(services.flatMap(each => each.clusters.filter(({ perSecond }) => perSecond > 0).map(of)))
  const clusters = [...data.clusters.values()].filter(each => used.has(of(each)))
  const nodes = {
    clients: clients.slice(0, mostNodes).map(({ text, rate, bad }) => ({ key: text, text, rate, bad })),
    services: services.map(each => ({ key: keyOf(each), text: keyOf(each), rate: each.perSecond, bad: badOf(each) })),
    clusters: clusters
      .slice(0, mostNodes)
      .map(each => ({ key: of(each), text: of(each), rate: each.perSecond, bad: badOf(each) })),
  }
  const threads = [
    ...clients.slice(0, mostNodes).flatMap(({ text, rate, services: uses }) => {
      const total = [...uses.values()].reduce((sum, flows) => sum + flows, 0)
      return [...uses]
        .filter(([service]) => shown.has(service))
        .map(([service, flows]) => ({ from: text, to: service, rate: (rate * flows) / total, bad: 0 }))
    }),
    ...services.flatMap(each =>
      each.clusters
        .filter(({ perSecond, failed }) => perSecond + failed > 0)
        .map(way => ({ from: keyOf(each), to: way.cluster, rate: way.perSecond, bad: badOf(way) })),
    ),
  ]
  const left = {
    clients: clients.length - nodes.clients.length,
    services: all.length - services.length,
    clusters: clusters.length - nodes.clusters.length,
  }
  current = threads
  return { nodes, threads, left }
}

let current = []

function of({ cluster }) {
  return cluster
}

function badOf({ failed, refused }) {
  const bad = Math.max(failed, refused)
  return bad > failing ? bad : 0
}

/** Clients by Pod or address; if they are too many, by namespace or range of addresses. */
function groups(clients) {
  const one = clients.length <= mostNodes
  const found = new Map()
  for (const client of clients) {
    const text = one ? nameOf(client) : (client.namespace ?? rangeOf(client.address))
    const known = found.get(text) ?? { text, rate: 0, bad: 0, services: new Map() }
    known.rate += client.perSecond
    known.bad = Math.max(known.bad, badOf(client))
    for (const { service, flows } of client.services)
      known.services.set(service, (known.services.get(service) ?? 0) + flows)
    found.set(text, known)
  }
  return [...found.values()].sort((a, b) => b.rate - a.rate)
}

function nameOf({ namespace, pod, address }) {
  return pod ? `${namespace}/${pod}` : address
}

function rangeOf(address) {
  if (!address.includes(':')) return `${address.split('.').slice(0, 3).join('.')}.0/24`
  return `${address.split('::')[0].split(':').slice(0, 4).join(':')}::/64`
}

/** A curve for each pair of nodes, as wide as its connections a second. */
export function drawThreads() {
  const frame = $('service-map').getBoundingClientRect()
  const boxes = new Map(
    [...$('service-map').querySelectorAll('.node')].map(node => [
      `${node.parentElement.id} ${node.dataset.key}`,
      node.getBoundingClientRect(),
    ]),
  )
  const place = (columns, key) => columns.map(column => boxes.get(`map-${column} ${key}`)).find(Boolean)
  const paths = current.flatMap(({ from, to, rate, bad }) => {
    const isFirst = boxes.has(`map-services ${to}`)
    const [a, b] = isFirst
      ? [place(['clients'], from), place(['services'], to)]
      : [place(['services'], from), place(['clusters'], to)]
    if (!a || !b) return []
    const [x1, y1] = [a.right - frame.left, (a.top + a.bottom) / 2 - frame.top]
    const [x2, y2] = [b.left - frame.left, (b.top + b.bottom) / 2 - frame.top]
    const middle = (x1 + x2) / 2
    const width = 1.2 + Math.min(7, Math.log2(1 + rate))
    const curve = `M${x1} ${y1} C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}`
    return [svg('path', { d: curve, 'stroke-width': width, class: bad ? 'bad' : 'good' })]
  })
  fill('threads', ...paths)
}
