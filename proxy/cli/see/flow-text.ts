/** Flows as lines of text: compact for 80 columns where it can be, and wide with everything. */
import { endpointText } from '../../model/address.ts'
import type { FlowDetails, FlowEndpoint, FlowEvent, FlowRecord } from '../../model/flow-record.ts'
import type { Paint } from '../terminal/io.ts'
import { bytesText, count, durationOf } from '../terminal/table.ts'

type Style = Parameters<Paint>[0]

const styles: Readonly<Record<FlowDetails['outcome'], Style>> = {
  forwarded: 'good',
  refused: 'bad',
  failed: 'bad',
  cancelled: 'warn',
}

/** `15:04:05.123 10.0.0.7:4000 -> default/cart -> cluster-2/10.2.0.1:8080 forwarded 3ms, 120 B up, 4 kB down, done` */
export function compactText(event: FlowEvent, paint: Paint): string {
  if (!('flow' in event)) return lostText(event, paint)
  const { flow } = event
  const { starlane } = flow
  const outcome = paint(styles[starlane.outcome], starlane.outcome)
  if (starlane.kind === 'question')
    return `${clock(flow)} ${sourceText(flow, false)} ${questionText(flow)} ${outcome} ${endText(flow)}`
  return `${clock(flow)} ${sourceText(flow, true)} -> ${targetText(flow)} ${outcome} ${endText(flow)}`.trimEnd()
}

/** Columns of a stream cannot be fitted to what is still to come. */
const widths = [23, 12, 24, 16, 28, 22, 30, 8, 3, 9, 7, 7, 9, 9, 0]

export const wideHead = wideLine([
  'TIME',
  'NODE',
  'CLIENT',
  'IDENTITY',
  'SERVICE',
  'FRONTEND',
  'BACKEND',
  'ROUTE',
  'TRY',
  'VERDICT',
  'DIAL',
  'TOOK',
  'SENT',
  'RECEIVED',
  'END',
])

export function wideText(event: FlowEvent, paint: Paint): string {
  if (!('flow' in event)) return lostText(event, paint)
  const { flow } = event
  const { starlane } = flow
  const { service = '', frontend = '', backend = '', route = '', attempts, outcome, dial_ms, duration_ms } = starlane
  const dns = flow.l7 ? `${flow.l7.dns.qtypes[0]} ${flow.l7.dns.query}` : ''
  return wideLine([
    flow.time.slice(0, 23),
    flow.node_name,
    sourceText(flow, true),
    identityText(flow.source),
    dns || service,
    frontend,
    backend,
    route,
    attempts === undefined ? '' : String(attempts),
    outcome,
    dial_ms === undefined ? '' : durationOf(dial_ms),
    duration_ms === undefined ? '' : durationOf(duration_ms),
    starlane.sent === undefined ? '' : bytesText(starlane.sent),
    starlane.received === undefined ? '' : bytesText(starlane.received),
    reasonText(flow),
  ])
}

function wideLine(cells: readonly string[]): string {
  return cells
    .map((cell, i) => cell.padEnd(widths[i] ?? 0))
    .join('  ')
    .trimEnd()
}

function lostText(event: Extract<FlowEvent, { lost_events: unknown }>, paint: Paint): string {
  const { source, num_events_lost: lost } = event.lost_events
  const why = source === 'HUBBLE_RING_BUFFER' ? 'not kept: overwritten, or beyond recorder.rate' : 'too many to send'
  return paint('warn', `${event.time.slice(11, 23)} ${count(lost, 'flow')} of ${event.node_name || 'it'} lost (${why})`)
}

/** In UTC, as the time of logs and of other nodes. */
function clock({ time }: FlowRecord): string {
  return time.slice(11, 23)
}

function sourceText({ source, IP, l4 }: FlowRecord, withPort: boolean): string {
  const { source_port: port } = 'TCP' in l4 ? l4.TCP : l4.UDP
  if (source.pod_name !== undefined) return `${source.namespace}/${source.pod_name}`
  return withPort ? endpointText(IP.source, port) : IP.source
}

function targetText({ starlane: { service, backend } }: FlowRecord): string {
  return [service, backend?.replace(/\/(TCP|UDP)$/, '')].filter(part => part !== undefined).join(' -> ')
}

function questionText({ l7 }: FlowRecord): string {
  return `DNS ${l7?.dns.qtypes[0]} ${l7?.dns.query}`
}

const rcodes: Readonly<Record<number, string>> = {
  0: 'NOERROR',
  1: 'FORMERR',
  2: 'SERVFAIL',
  3: 'NXDOMAIN',
  4: 'NOTIMP',
  5: 'REFUSED',
}

function endText(flow: FlowRecord): string {
  const { starlane, l7 } = flow
  if (l7) return [answerText(l7.dns), durationOf(l7.latency_ns / 1e6)].join(', ')
  const { state, sent, received, duration_ms, attempts = 1 } = starlane
  const tries = attempts > 1 ? `attempt ${attempts}, ` : ''
  if (sent === undefined || received === undefined) return state === 'open' ? `${tries}open` : reasonText(flow)
  const bytes = `${bytesText(sent)} up, ${bytesText(received)} down`
  if (state === 'open') return sent + received === 0 ? `${tries}open` : `${tries}open, ${bytes}`
  return `${tries}${durationOf(duration_ms ?? 0)}, ${bytes}, ${reasonText(flow)}`
}

/** `NOERROR 10.1.0.7 +2` */
function answerText({ rcode, ips: [first, ...more] = [] }: NonNullable<FlowRecord['l7']>['dns']): string {
  const rest = more.length > 0 ? ` +${more.length}` : ''
  return [rcodes[rcode] ?? `rcode ${rcode}`, ...(first === undefined ? [] : [`${first}${rest}`])].join(' ')
}

function reasonText({ starlane, l7 }: FlowRecord): string {
  const { refusal, close_reason, dial_outcome, state } = starlane
  if (l7) return answerText(l7.dns)
  if (refusal) return `${refusal.code}${refusal.rule === undefined ? '' : ` ${refusal.rule}`}: ${refusal.why}`
  return close_reason ?? dial_outcome ?? (state === 'open' ? 'open' : '')
}

function identityText({ identity, labels = [] }: FlowEndpoint): string {
  return identity === undefined ? labels.join(',') : String(identity)
}
