/**
 * Completes a search path for the client. A pod with `ndots:5` asks for `www.example.org.ns.svc.cluster.local` first and for
 * the next suffix after each NXDOMAIN. This finds the name where the search would end, from the first question alone.
 * CoreDNS's plugin of this name takes the namespace from the client's pod; this takes it from the question, so that a reused
 * pod address does no harm.
 */
import { isPlain } from '../message/query.ts'
import { rcodes, types } from '../message/wire.ts'
import { type Answer, answer, isWithin, type Zones } from './answer.ts'
import type { View } from './view.ts'

/** Instead of a denial, an alias to the name where the search path ends. Undefined when it is not a search step. */
export function autopath(
  labels: readonly string[],
  type: number,
  denied: Answer,
  view: View,
  zones: Zones,
): Answer | undefined {
  const { origin } = zones.cluster
  if (denied.rcode !== rcodes.NXDOMAIN || denied.answers.length > 0 || !isWithin(labels, origin)) return undefined
  if (type !== types.A && type !== types.AAAA) return undefined
  const [svc, namespace, ...asked] = labels.slice(0, -origin.split('.').length).reverse()
  const name = asked.reverse()
  // A single label is no public name, and a name that ends in a service of the namespace was meant for that service.
  if (svc !== 'svc' || namespace === undefined || name.length < 2 || !isPlain(name)) return undefined
  if (!view.hasNamespace(namespace) || view.service(namespace, name.at(-1) ?? '')) return undefined
  const alias = (target: readonly string[]) =>
    ({ name: labels.join('.'), ttl: zones.ttlSeconds, type: types.CNAME, target: target.join('.') }) as const
  for (const suffix of [['svc'], []]) {
    const full = [...name, ...suffix, ...origin.split('.')]
    const found = answer(full, type, view, zones)
    if (found?.rcode === rcodes.NOERROR && found.externalTarget === undefined) {
      return { ...found, answers: [alias(full), ...found.answers] }
    }
  }
  // Special-use names lead nowhere.
  if (answer(name, type, view, zones)) return undefined
  return { ...denied, rcode: rcodes.NOERROR, answers: [alias(name)], authority: [], externalTarget: name.join('.') }
}
