// What an open row shows: settings, backends, how one of them is chosen for a client, and the flows as they pass.

import { ask } from './data.js'
import { bytes, count, duration, give, hostText, make, span } from './elements.js'

const mostBackends = 100
const mostFlows = 50
const mostNamed = 3

/** The panel of one open service; `close` ends its stream of flows. */
export class Detail {
  constructor(key) {
    const [namespace, name] = key.split('/')
    this.path = `${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`
    this.key = key
    this.about = make('div')
    this.why = make('div.small')
    this.lines = make('tbody')
    this.tailState = make('span.soft.small')
    this.from = give(make('input'), { placeholder: 'this machine', autocomplete: 'off', spellcheck: false, size: 24 })
    const form = make(
      'form.bar',
      make('label.small', 'From ', this.from),
      give(make('button', 'Explain'), { type: 'submit' }),
    )
    form.onsubmit = event => {
      event.preventDefault()
      this.explain()
    }
    const heads = ['Time', 'Client', 'Backend', 'Verdict', 'Dial', 'Bytes', 'Lasted']
    this.element = make(
      'div.detail',
      make('div.sides', make('div', this.about), make('div', make('h3', 'Who gets which backend'), form, this.why)),
      make('h3', 'Flows ', this.tailState),
      make('div.wide', make('table.small', headRow(heads), this.lines)),
    )
    this.refresh()
    this.explain()
    this.follow()
  }

  async refresh() {
    try {
      const service = await ask(`v1/services/${this.path}`)
      const text = JSON.stringify(service)
      if (text !== this.drawn) this.about.replaceChildren(...aboutService(service))
      this.drawn = text
    } catch (error) {
      this.about.replaceChildren(make('p.bad', error.message))
    }
  }

  async explain() {
    const from = this.from.value.trim()
    try {
      const query = from ? `?from=${encodeURIComponent(from)}` : ''
      const { client, before, frontends } = await ask(`v1/explain/${this.path}${query}`)
      const parts = frontends.flatMap(each => [make('h4', `${client} to ${each.frontend}`), steps(each)])
      const beforehand =
        before.length > 0 ? [make('p.soft', `Left out before the chain runs: ${removals(before)}`)] : []
      this.why.replaceChildren(...parts, ...beforehand)
    } catch (error) {
      this.why.replaceChildren(make('p.bad', error.message))
    }
  }

  /** Each flow has a line, which is written anew as bytes pass, and when it ends. */
  follow() {
    this.close()
    this.known = new Map()
    this.lines.replaceChildren()
    this.tailState.textContent = 'waiting for the next'
    this.source = new EventSource(`v1/flows?service=${encodeURIComponent(this.key)}&follow=true&progress=true&last=10`)
    this.source.addEventListener('flow', ({ data }) => this.add(JSON.parse(data).flow))
    this.source.onerror = () => {
      this.tailState.textContent = 'no answer'
    }
    this.source.onopen = () => {
      this.tailState.textContent = 'as they pass'
    }
  }

  add(flow) {
    const line = flowLine(flow)
    const known = this.known.get(flow.uuid)
    if (known) known.replaceWith(line)
    else this.lines.prepend(line)
    this.known.set(flow.uuid, line)
    if (this.known.size <= mostFlows) return
    const [oldest] = this.known.keys()
    this.known.get(oldest).remove()
    this.known.delete(oldest)
  }

  close() {
    this.source?.close()
    this.source = undefined
  }
}

function headRow(heads) {
  return make('thead.soft', make('tr', ...heads.map(head => give(make('th', head), { scope: 'col' }))))
}

function flowLine({ time, IP, source, l7, starlane }) {
  const { outcome, state, backend, refusal, dial_ms, sent, received, duration_ms, kind } = starlane
  const client = source.pod_name ? `${source.namespace}/${source.pod_name}` : IP.source
  const what = kind === 'question' ? `${l7?.dns.qtypes[0]} ${l7?.dns.query}` : (backend ?? '')
  const word = refusal ? `${outcome}: ${refusal.why}` : state === 'open' ? 'open' : outcome
  const color = { forwarded: 'good', refused: 'warn', failed: 'bad' }[outcome] ?? 'unsure'
  const total = sent === undefined && received === undefined ? '' : bytes((sent ?? 0) + (received ?? 0))
  const lasted = duration_ms === undefined ? '' : duration(duration_ms)
  const cells = [
    new Date(time).toLocaleTimeString(),
    client,
    what,
    make(`span.${color}`, word),
    duration(dial_ms),
    total,
    lasted,
  ]
  return make('tr', ...cells.map(cell => make('td', cell)))
}

function aboutService(service) {
  const { backends, condition } = service
  const heads = ['', 'Backend', 'Cluster', 'State', 'Health', 'Weight', 'Node', 'Zone']
  const cells = b => [dot(b), addressText(b), b.cluster, b.state, healthText(b), b.weight, b.node ?? '', b.zone ?? '']
  const shown = backends.slice(0, mostBackends)
  const rest = backends.length - shown.length
  return [
    condition.why ? make('p', condition.why) : '',
    make('p', ...settingsOf(service).map(text => make('span.tag', text))),
    make('div.dots', ...shown.map(dot)),
    make(
      'div.wide',
      make(
        'table.small',
        headRow(heads),
        make('tbody', ...shown.map(b => make('tr', ...cells(b).map(cell => make('td', cell))))),
      ),
    ),
    rest > 0 ? make('p.soft.small', `and ${count(rest, 'more backend')}`) : '',
  ]
}

/** The health, the last check's error, and what plugins say. */
function healthText({ health, lastError, notes }) {
  const said = Object.entries(notes ?? {}).map(
    ([plugin, { state, detail }]) => `${plugin}: ${state}${detail ? `, ${detail}` : ''}`,
  )
  return make('span', health, ...[lastError, ...said].filter(Boolean).map(text => make('span.soft.why', text)))
}

function dot(backend) {
  const { state, health, selected } = backend
  const leaving = state === 'active' ? '' : `, ${state}`
  const text = `${addressText(backend)} ${health}${leaving}, ${selected ? 'gets' : 'no'} new flows`
  const kind = state === 'active' || health === 'down' || health === 'ejected' ? health : 'leaving'
  return give(make(`span.dot.${kind}${selected ? '.chosen' : ''}`), { role: 'img', title: text, ariaLabel: text })
}

function addressText({ address, port, protocol }) {
  return `${hostText(address)}:${port}/${protocol}`
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

function steps({ steps, candidates, doubts, decidedBy, refusal }) {
  const lines = steps.map(({ step, left, removed }) => {
    const gone = removed.length > 0 ? make('span.soft', ` without ${removals(removed, refusal?.why)}`) : ''
    return make('li', make('b', step), ` leaves ${left}`, gone)
  })
  const named = candidates.map(key => (doubts?.[key] ? `${key} (${doubts[key]})` : key))
  const end = refusal
    ? make('li.bad', `refused by ${refusal.code}: ${refusal.why}`)
    : make('li', make('b', decidedBy), ` chooses among ${named.join(', ') || 'none'}`)
  return make('ol.steps', ...lines, end)
}

/** Each reason once, with the backends that it is about; one that the refusal gives is not said again. */
function removals(removed, refused) {
  const reasons = new Map()
  for (const { backend, why } of removed) reasons.set(why, [...(reasons.get(why) ?? []), backend])
  return [...reasons]
    .map(([why, all]) => {
      const more = all.length - mostNamed
      const named = all.slice(0, mostNamed).join(', ') + (more > 0 ? ` and ${more} more` : '')
      return refused?.includes(why) ? named : `${named} (${why})`
    })
    .join('; ')
}
