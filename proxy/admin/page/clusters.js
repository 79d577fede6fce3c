// The local cluster, the other clusters, and the lanes between them.

import { data, isMoving } from './data.js'
import { $, amount, bytes, count, fill, give, make, percent, pill, span, svg } from './elements.js'

/** With more clusters, those in order have one line each. */
const mostWhole = 5
/** With more clusters, the others wait behind a button, so that the services stay near. */
const mostShown = 8
let showsAll = false
const linkKinds = { live: 'good', syncing: 'unsure', lost: 'bad', stale: 'bad' }

export function drawClusters() {
  const { clusters } = data.status
  fill('here', ...clusters.filter(({ local }) => local).map(cluster => clusterCard('div', cluster)))
  const remote = clusters.filter(({ local }) => !local)
  const shown = shownClusters(remote)
  const rest = remote.length - mostShown
  fill('there', ...shown.map(cluster => clusterCard('li', cluster)), ...(rest > 1 ? [moreButton(rest)] : []))
  drawLanes()
}

/** In their order: all, or those in trouble and then the busiest. */
function shownClusters(remote) {
  if (showsAll || remote.length <= mostShown + 1) return remote
  const speed = ({ name }) => data.clusters.get(name)?.perSecond ?? 0
  const isGood = ({ link }) => link.state === 'live'
  const first = remote.toSorted((a, b) => isGood(a) - isGood(b) || speed(b) - speed(a)).slice(0, mostShown)
  return remote.filter(cluster => first.includes(cluster))
}

function moreButton(rest) {
  const text = showsAll ? 'Show fewer clusters' : `Show ${count(rest, 'more cluster')}`
  const button = give(make('button.small', text), {
    type: 'button',
    onclick: () => {
      showsAll = !showsAll
      drawClusters()
      $('there').lastElementChild.firstElementChild.focus()
    },
  })
  return make('li.more', button)
}

function clusterCard(tag, { name, id, tenant, link, source, services, globalServices, backends, changedAt }) {
  const { now } = data.status
  const changed = changedAt === undefined ? 'no change yet' : `changed ${span(now - changedAt)} ago`
  const end = link.staleAt === undefined ? '' : `, stale in ${span(link.staleAt - now)}`
  const kind = linkKinds[link.state]
  if (tag === 'li' && link.state === 'live' && data.status.clusters.length > mostWhole) {
    const traffic = make('span.small', trafficText(data.clusters.get(name)))
    return make('li.card.cluster', make('b.title', name, traffic, pill(link.state, kind)))
  }
  return make(
    `${tag}.card.cluster`,
    make(
      'b.title',
      name,
      make('span.soft.small', `id ${id}`),
      tenant ? make('span.tag', tenant) : '',
      pill(link.state, kind),
    ),
    make('span.flow', trafficText(data.clusters.get(name))),
    make(
      'span.soft.small',
      `${count(services, 'service')}, ${globalServices.toLocaleString('en')} global, ${count(backends, 'backend')}`,
    ),
    make('span.soft.small', `${changed} · ${link.state} for ${span(now - link.since)}${end}`),
    make('span.soft.small.cut', source),
    link.error ? make(`span.small.${kind}`, link.error) : '',
  )
}

function trafficText(rates) {
  if (!rates || (!isMoving(rates) && rates.open === 0)) return 'no traffic'
  const failed = rates.failed > 0 ? `, ${percent(rates.failed)} failed` : ''
  const moved = rates.sentPerSecond + rates.receivedPerSecond
  return `${amount(rates.perSecond)} connections/s, ${amount(rates.open)} open${failed}${moved > 0 ? `, ${bytes(moved)}/s` : ''}`
}

/** A curve from the local cluster to each other one, as wide as its connections a second, which it is labelled with. */
export function drawLanes() {
  const frame = $('map').getBoundingClientRect()
  const from = $('here').firstElementChild?.getBoundingClientRect()
  if (!from || !data.status) return
  const remote = shownClusters(data.status.clusters.filter(({ local }) => !local))
  const [paths, labels] = [[], []]
  for (const [i, card] of $('there').querySelectorAll('.cluster').entries()) {
    const to = card.getBoundingClientRect()
    const [x1, y1] = [from.right - frame.left, (from.top + from.bottom) / 2 - frame.top]
    const [x2, y2] = [to.left - frame.left, (to.top + to.bottom) / 2 - frame.top]
    const curve = `M${x1} ${y1} C${(x1 + x2) / 2} ${y1} ${(x1 + x2) / 2} ${y2} ${x2} ${y2}`
    const { name, link } = remote[i]
    const rates = data.clusters.get(name)
    const moves = isMoving(rates) && !data.lost
    const width = moves ? 2 + Math.min(6, 0.8 * Math.log2(1 + rates.perSecond)) : 1.5
    const kind = link.state === 'live' && !moves ? 'unsure' : linkKinds[link.state]
    const still = link.state === 'live' ? 'idle' : 'broken'
    if (moves) paths.push(svg('path', { d: curve, 'stroke-width': width * 2, class: `glowing ${kind}` }))
    paths.push(svg('path', { d: curve, 'stroke-width': width, class: `${moves ? 'live' : still} ${kind}` }))
    if (!moves) continue
    // Three quarters along the curve, where lanes are apart from each other.
    const label = svg('text', { x: x1 + 0.703 * (x2 - x1), y: y1 + 0.844 * (y2 - y1) + 4, 'text-anchor': 'middle' })
    label.append(`${amount(rates.perSecond)}/s`)
    labels.push(label)
  }
  fill('lanes', ...paths, ...labels)
}
