/** A rehearsal as text. */
import type { FlowChange, Rehearsal, RehearsalRequest, ServiceLoss } from '../../model/flows/rehearsal.ts'
import type { Paint } from '../terminal/io.ts'
import { count, table } from '../terminal/table.ts'

const maxRows = 100

export function rehearsalText(request: RehearsalRequest, rehearsal: Rehearsal, paint: Paint): string {
  const parts =
    request.without === undefined ? policyParts(rehearsal, paint) : lossParts(request.without, rehearsal, paint)
  const problems = rehearsal.problems.map(({ where, message }) => `${paint('warn', 'note')}  ${where}  ${message}\n`)
  return [...parts, problems.join('')].filter(part => part !== '').join('\n')
}

function policyParts({ flows, skipped, changes }: Rehearsal, paint: Paint): string[] {
  const of = (to: FlowChange['to']) =>
    changes.filter(change => change.to === to).reduce((sum, { flows }) => sum + flows, 0)
  const verdict = `${count(flows, 'recorded flow')}: ${of('refused')} would be refused, ${of('allowed')} would be allowed, ${of('moved')} would go to another backend\n`
  const rows = changes
    .slice(0, maxRows)
    .map(({ client, pod, service, to, flows, why }) => [
      pod ?? client,
      service,
      paint(to === 'refused' ? 'bad' : to === 'allowed' ? 'good' : 'warn', to),
      String(flows),
      why,
    ])
  const left = changes.length - rows.length
  return [
    paint('strong', verdict),
    rows.length === 0
      ? ''
      : table(['CLIENT', 'SERVICE', 'WOULD BE', 'FLOWS ', 'BECAUSE'], rows, head => paint('soft', head)),
    left > 0 ? `and ${left} more; -o json has all\n` : '',
    ...Object.entries(skipped).map(([why, flows]) => `${count(flows, 'flow')} left out: ${why}\n`),
  ]
}

function lossParts(without: string, { flows, services }: Rehearsal, paint: Paint): string[] {
  const of = (state: ServiceLoss['state']) => services.filter(service => service.state === state).length
  const verdict = `Without ${without}: ${count(of('none'), 'service')} would have no backend, ${of('few')} less than half of them, ${of('some')} at least half; ${count(flows, 'recorded flow')} went there\n`
  const rows = services.slice(0, maxRows).map(({ service, state, before, after, moved, load }) => [
    service,
    paint(state === 'none' ? 'bad' : state === 'few' ? 'warn' : 'good', state),
    `${before} → ${after}`,
    String(moved),
    Object.entries(load)
      .map(([cluster, share]) => `${cluster} ${Math.round(100 * share)}%`)
      .join(', ') || 'nowhere',
  ])
  const left = services.length - rows.length
  return [
    paint('strong', verdict),
    rows.length === 0
      ? ''
      : table(['SERVICE', 'LEFT', 'BACKENDS', 'FLOWS ', 'LOAD GOES TO'], rows, head => paint('soft', head)),
    left > 0 ? `and ${left} more; -o json has all\n` : '',
  ]
}
