// Polls /v1/status and /v1/services and shows them. All text is inserted as text, never as markup.

const $ = id => document.getElementById(id)
const most = { rows: 200, dots: 24, names: 5 }

let status
let services = []
let timer
let asking = false
// `#default/rebel-base` in the address opens that service.
const open = new Set([decodeURIComponent(location.hash.slice(1))])
const drawn = new Map()

async function refresh() {
  if (asking || document.hidden || paused()) return
  asking = true
  const began = performance.now()
  try {
    ;[status, services] = await Promise.all([ask('v1/status'), ask('v1/services')])
    draw()
    document.body.classList.remove('away')
    $('lost').hidden = true
  } catch (error) {
    document.body.classList.add('away')
    $('lost').hidden = false
    fill('lost', `No answer (${error.message}). Is Starlane running? The data below is from the last answer.`)
  }
  asking = false
  clearTimeout(timer)
  // Polls less often if a poll takes long, so that watching a large mesh stays cheap.
  timer = setTimeout(refresh, 2000 + 20 * (performance.now() - began))
}

async function ask(path) {
  const response = await fetch(path, { signal: AbortSignal.timeout(10_000) })
  if (!response.ok) throw new Error(`${path} answers ${response.status}`)
  return response.json()
}

function draw() {
  drawSummary()
  drawComponents()
  drawClusters()
  drawServices()
  drawProblems()
}

function drawSummary() {
  const { cluster, ready, stopping, waiting, version, startedAt, now, components } = status
  const rest = ready ? `up ${span(now - startedAt)}` : `waiting for ${waiting.join(', ')}`
  fill(
    'summary',
    `${cluster} `,
    ready ? pill('ready', 'good') : pill(stopping ? 'stopping' : 'starting', 'warn'),
    ` ${rest} · version ${version}`,
  )
  fill('fresh', `as of ${new Date(now).toLocaleTimeString()}`)
  const calm = ready && components.every(({ state }) => state === 'ok' || state === 'disabled')
  document.title = `${calm ? '' : '⚠ '}Starlane · ${cluster}`
}

function drawComponents() {
  const kinds = { ok: 'good', warning: 'warn', error: 'bad', disabled: 'unsure' }
  const cards = status.components.map(({ name, state, detail }) => {
    const mark = pill(state === 'ok' ? 'OK' : state, kinds[state])
    return make('li.card', make('b.title', name, mark), make('span.soft.small', detail))
  })
  fill('components', ...cards)
}

function drawClusters() {
  const [here, there] = [true, false].map(local => status.clusters.filter(cluster => cluster.local === local))
  fill('here', ...here.map(cluster => clusterCard('div', cluster)))
  fill('there', ...there.map(cluster => clusterCard('li', cluster)))
  drawLanes()
}

const linkKinds = { live: 'good', syncing: 'unsure', lost: 'warn', stale: 'bad' }

function clusterCard(tag, { name, id, tenant, link, source, services, globalServices, backends, changedAt }) {
  const changed = changedAt === undefined ? 'no change yet' : `changed ${span(status.now - changedAt)} ago`
  const end = link.staleAt === undefined ? '' : `, stale in ${span(link.staleAt - status.now)}`
  const kind = linkKinds[link.state]
  return make(
    `${tag}.card.cluster`,
    make(
      'b.title',
      name,
      make('span.soft.small', `id ${id}`),
      tenant ? make('span.tag', tenant) : '',
      pill(link.state, kind),
    ),
    make('span', flowsText(users(name).map(service => service.name))),
    make('span.soft.small', `${count(services, 'service')}, ${globalServices} global, ${count(backends, 'backend')}`),
    make('span.soft.small', `${changed} · ${link.state} for ${span(status.now - link.since)}${end}`),
    make('span.soft.small', source),
    link.error ? make(`span.small.${kind}`, link.error) : '',
  )
}

function flowsText(names) {
  if (names.length === 0) return 'gets no flows'
  const rest = names.length - most.names
  return `gets flows of ${names.slice(0, most.names).join(', ')}${rest > 0 ? ` and ${rest} more` : ''}`
}

/** The services that send new flows to a cluster. */
function users(cluster) {
  return services.filter(service => service.backends.some(b => b.cluster === cluster && b.selected))
}

/** Draws a curve from the local cluster to each other one; its width grows with the number of services that send flows there. */
function drawLanes() {
  const frame = $('map').getBoundingClientRect()
  const from = $('here').firstElementChild?.getBoundingClientRect()
  if (!from) return
  const remote = status.clusters.filter(cluster => !cluster.local)
  const paths = [...$('there').children].flatMap((card, i) => {
    const to = card.getBoundingClientRect()
    const [x1, y1] = [from.right - frame.left, (from.top + from.bottom) / 2 - frame.top]
    const [x2, y2] = [to.left - frame.left, (to.top + to.bottom) / 2 - frame.top]
    const curve = `M${x1} ${y1} C${(x1 + x2) / 2} ${y1} ${(x1 + x2) / 2} ${y2} ${x2} ${y2}`
    const { name, link } = remote[i]
    const uses = users(name).length
    const width = uses === 0 ? 1.5 : 2 + Math.log2(1 + uses)
    const motion = link.state === 'live' && uses > 0 ? 'live' : 'cut'
    const kind = linkKinds[link.state]
    return [lane(curve, width * 2.5, `glowing ${kind}`), lane(curve, width, `${motion} ${kind}`)]
  })
  fill('lanes', ...paths)
}

function lane(curve, width, classes) {
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path')
  path.setAttribute('d', curve)
  path.setAttribute('stroke-width', width)
  path.setAttribute('class', classes)
  return path
}

function drawServices() {
  const names = status.clusters.map(cluster => cluster.name)
  const word = $('find').value.trim().toLowerCase()
  const fitting = word === '' ? services : services.filter(service => words(service).includes(word))
  fill('columns', make('tr', ...['Service', ...names].map(name => give(make('th.head', name), { scope: 'col' }))))
  placeRows(fitting.slice(0, most.rows), names)
  const rest = fitting.length - most.rows
  fill(
    'more',
    rest > 0 ? `and ${rest} more; use Find to narrow the list` : fitting.length === 0 ? 'No service matches.' : '',
  )
}

function words({ namespace, name, backends }) {
  return [`${namespace}/${name}`, ...backends.flatMap(b => [b.cluster, b.address])].join(' ').toLowerCase()
}

/** Keeps unchanged rows, so that focus and selection are not lost. */
function placeRows(shown, names) {
  const focused = document.activeElement?.dataset.key
  const rows = shown.flatMap(service => {
    const key = keyOf(service)
    const text = JSON.stringify([service, names, open.has(key)])
    if (drawn.get(key)?.text !== text) drawn.set(key, { text, rows: serviceRows(service, names) })
    return drawn.get(key).rows
  })
  const keys = new Set(services.map(keyOf))
  for (const key of drawn.keys()) if (!keys.has(key)) drawn.delete(key)
  const placed = $('rows').children
  if (rows.length === placed.length && rows.every((row, i) => row === placed[i])) return
  fill('rows', ...rows)
  if (focused)
    $('rows')
      .querySelector(`[data-key="${CSS.escape(focused)}"]`)
      ?.focus()
}

function keyOf({ namespace, name }) {
  return `${namespace}/${name}`
}

function serviceRows(service, names) {
  const key = keyOf(service)
  const expanded = open.has(key)
  const toggle = give(make('button', make('b', service.name), make('span.soft.small', placesText(service))), {
    type: 'button',
    ariaExpanded: `${expanded}`,
    onclick: () => {
      if (!open.delete(key)) open.add(key)
      drawServices()
    },
  })
  toggle.dataset.key = key
  const row = make('tr', give(make('th.name', toggle), { scope: 'row' }), ...stops(service, names))
  return expanded ? [row, make('tr', give(detail(service), { colSpan: names.length + 1 }))] : [row]
}

function placesText({ namespace, frontends, headless }) {
  const places = frontends.map(f => `${hostText(f.ip)}:${f.port}/${f.protocol}${f.refusing ? ' refusing' : ''}`)
  return `${namespace} · ${places.join(' ') || (headless ? 'headless' : 'no frontend here')}`
}

function hostText(address) {
  return address.includes(':') ? `[${address}]` : address
}

function stops({ backends }, names) {
  const places = names.map(name => backends.filter(b => b.cluster === name))
  const last = places.findLastIndex(here => here.length > 0)
  const lastFlow = places.findLastIndex(here => here.some(b => b.selected))
  return places.map((here, i) => {
    const rest = here.length - most.dots
    const more = rest > 0 ? make('span.soft.small.more', `+${rest}`) : ''
    const marks = [i === 0 && '.first', i === last && '.last', i > last && '.beyond', i <= lastFlow && '.flowing']
    return make(
      `td.stop${marks.filter(Boolean).join('')}`,
      make('div.dots', ...here.slice(0, most.dots).map(dot), more),
    )
  })
}

function dot(backend) {
  const { state, health, selected } = backend
  const leaving = state === 'active' ? '' : `, ${state}`
  const text = `${backendText(backend)} ${health}${leaving}, ${selected ? 'gets' : 'no'} new flows`
  const kind = state === 'active' || health === 'down' || health === 'ejected' ? health : 'leaving'
  return give(make(`span.dot.${kind}${selected ? '.chosen' : ''}`), { role: 'img', title: text, ariaLabel: text })
}

function backendText({ address, port, protocol }) {
  return `${hostText(address)}:${port}/${protocol}`
}

function detail(service) {
  const heads = ['', 'Backend', 'Cluster', 'State', 'Health', 'Weight', 'Node', 'Zone']
  const cells = b => [dot(b), backendText(b), b.cluster, b.state, b.health, b.weight, b.node ?? '', b.zone ?? '']
  const table = make(
    'table.backends',
    make('thead.soft', make('tr', ...heads.map(head => give(make('th', head), { scope: 'col' })))),
    make('tbody', ...service.backends.map(b => make('tr', ...cells(b).map(cell => make('td', cell))))),
  )
  const why = make('div.small', 'asking…')
  explain(service, why)
  const tags = make('p', ...settingsOf(service).map(text => make('span.tag', text)))
  return make('td.detail', make('div.sides', make('div', tags, table), why))
}

function settingsOf({ settings, headless }) {
  const { global, shared, affinity, clusterOrder, clusterWeights, minHealthyLocal, sessionAffinityMs } = settings
  const shares = Object.entries(clusterWeights ?? {}).map(([name, share]) => `${name}=${share}`)
  const all = [
    global ? 'global' : 'local only',
    shared ? 'shared' : 'not shared',
    `affinity ${clusterOrder?.length ? clusterOrder.join(', ') : affinity}`,
    headless && 'headless',
    minHealthyLocal && `min healthy local ${minHealthyLocal.count ?? `${minHealthyLocal.percent}%`}`,
    shares.length > 0 && `weights ${shares.join(', ')}`,
    sessionAffinityMs && `sticky for ${span(sessionAffinityMs)}`,
  ]
  return all.filter(Boolean)
}

/** How a backend is chosen for a client on this machine. */
async function explain({ namespace, name }, into) {
  try {
    const path = `v1/explain/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`
    const { client, before, frontends } = await ask(path)
    const parts = frontends.flatMap(each => [make('h3', `${client} to ${each.frontend}`), steps(each)])
    const beforehand = before.length > 0 ? [make('p.soft', `Left out before the chain runs: ${removals(before)}`)] : []
    into.replaceChildren(...parts, ...beforehand)
  } catch (error) {
    into.replaceChildren(`no explanation (${error.message})`)
  }
}

function steps({ steps, candidates, decidedBy, refusal }) {
  const lines = steps.map(({ step, left, removed }) => {
    const gone = removed.length > 0 ? make('span.soft', ` without ${removals(removed)}`) : ''
    return make('li', make('b', step), ` leaves ${left}`, gone)
  })
  const end = refusal
    ? make('li.bad', `refused by ${refusal.code}: ${refusal.why}`)
    : make('li', make('b', decidedBy), ` chooses among ${candidates.join(', ') || 'none'}`)
  return make('ol.steps', ...lines, end)
}

function removals(removed) {
  return removed.map(({ backend, why }) => `${backend} (${why})`).join(', ')
}

function drawProblems() {
  const cards = status.problems.map(({ code, where, message }) =>
    make('li.card.problem', make('b', code), ' ', make('code', where), make('br'), message),
  )
  fill('problems', ...(cards.length > 0 ? cards : [make('li.card.calm', 'None.')]))
}

function pill(text, kind) {
  return make(`span.pill.${kind}`, text)
}

function count(n, noun) {
  return `${n} ${noun}${n === 1 ? '' : 's'}`
}

/** `12s`, `3m 20s`, `2h 5m`, `4d 1h`. */
function span(ms) {
  const s = Math.max(0, Math.round(ms / 1000))
  if (s < 60) return `${s}s`
  if (s < 3600) return `${Math.floor(s / 60)}m ${s % 60}s`
  if (s < 86_400) return `${Math.floor(s / 3600)}h ${Math.floor((s % 3600) / 60)}m`
  return `${Math.floor(s / 86_400)}d ${Math.floor((s % 86_400) / 3600)}h`
}

/** `make('li.card.small', …)`: an element with its classes and children. */
function make(what, ...children) {
  const [tag, ...classes] = what.split('.')
  const element = give(document.createElement(tag), { className: classes.join(' ') })
  element.append(...children)
  return element
}

function give(element, properties) {
  return Object.assign(element, properties)
}

function fill(id, ...children) {
  $(id).replaceChildren(...children)
}

function paused() {
  return $('pause').ariaPressed === 'true'
}

$('pause').addEventListener('click', () => {
  $('pause').ariaPressed = `${!paused()}`
  fill('pause', paused() ? 'Resume' : 'Pause')
  refresh()
})
$('find').addEventListener('input', () => status && drawServices())
addEventListener('resize', () => status && drawLanes())
document.addEventListener('visibilitychange', refresh)
refresh()
