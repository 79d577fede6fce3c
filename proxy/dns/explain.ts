/** An answer and the way it was made, for `starlane dns NAME`. Looks, but leaves nothing behind in the fast way. */
import type { Client } from '../model/flow.ts'
import type { GlobalService } from '../model/service.ts'
import { joined } from './chase.ts'
import type { Forwarder } from './forward/forwarder.ts'
import type { Resolved, Resolver } from './forward/resolver.ts'
import { encode } from './message/encode.ts'
import { type Printed, print } from './message/print.ts'
import { isPlain, type Query, readQuery } from './message/query.ts'
import { queryMessage, questionNamed } from './message/question.ts'
import { replyOf } from './message/reply.ts'
import { headerBytes, rcodeName, rcodes, typeCode, typeName } from './message/wire.ts'
import type { Replier } from './respond.ts'
import { type Answer, answer } from './zones/answer.ts'
import type { View } from './zones/view.ts'

export interface Explanation extends Printed {
  readonly name: string
  readonly type: string
  readonly rcode: string
  /** From our own zones. */
  readonly authoritative: boolean
  /** What was looked at and decided, in order, in words. */
  readonly way: readonly string[]
}

export interface ExplainParts {
  readonly replier: Replier
  readonly resolver: Resolver
  readonly forwarder: Forwarder
}

export async function explain(
  name: string,
  type: string,
  client: Client,
  { replier, resolver, forwarder }: ExplainParts,
): Promise<Explanation> {
  const asked = queryFor(name, type)
  if (typeof asked === 'string') return { ...nothing, name, type, rcode: 'FORMERR', authoritative: false, way: [asked] }
  const { query, labels } = asked
  const view = replier.view(client)
  const found = answer(labels, query.type, view, replier.zones)
  const way = [...(found ? [`zone ${found.zone}`] : ['not in our zones']), ...lookedAt(view)]
  const told = { name: labels.join('.'), type: typeName(query.type), authoritative: found !== undefined }
  if (found && found.elsewhere === undefined)
    return { ...told, ...printed(query, found), way: [...way, ...outcome(found)] }

  const target = found?.elsewhere ?? told.name
  if (found) way.push(`an alias leads out of our zones, to ${target}`)
  const outside = found ? queryFor(target, type) : asked
  const { resolved, steps } =
    typeof outside === 'string'
      ? { resolved: undefined, steps: [outside] }
      : await look(outside, client, resolver, forwarder)
  way.push(...steps)
  if (!resolved) return { ...told, ...nothing, rcode: found ? 'NOERROR' : 'REFUSED', way }
  const whole = found ?? { zone: '.', rcode: rcodes.NOERROR, answers: [], authority: [], additional: [] }
  return { ...told, ...printed(query, joined(whole, resolved)), way }
}

interface Asked {
  readonly query: Query
  readonly labels: readonly string[]
}

function queryFor(name: string, type: string): Asked | string {
  const code = typeCode(type)
  if (code === undefined) return `${type} is no record type; A, AAAA, SRV, PTR, CNAME, TXT, … or TYPE65 are`
  const plain = name.toLowerCase().replace(/\.$/, '')
  const labels = plain === '' ? [] : plain.split('.')
  const sound = isPlain(labels) && labels.every(label => label.length <= 63)
  const query = sound ? readQuery(queryMessage(questionNamed(plain, code), 0, true)) : undefined
  return query && !('rcode' in query) ? { query, labels } : `${name} is no domain name`
}

function printed(query: Query, found: Answer): Printed & { readonly rcode: string } {
  const question = query.bytes.subarray(headerBytes, query.end)
  const reply = replyOf(encode(question, { authoritative: true, rcode: found.rcode }, found), query.end)
  return { ...print(reply.bytes, reply.questionEnd), rcode: rcodeName(found.rcode) }
}

function lookedAt(view: View): string[] {
  const { seen } = view
  return [
    ...(view.synced ? [] : ['the first sync is not done: nothing may be denied yet']),
    ...[...seen.namespaces].map(([name, exists]) => `namespace ${name} ${exists ? 'exists' : 'does not exist'}`),
    ...[...seen.pods.values()].map(({ namespace, address, exists }) => {
      return `${exists ? 'a' : 'no'} pod of namespace ${namespace} has ${address}`
    }),
    ...[...seen.hidden].map(([key, refusal]) => `${key} is hidden from this client by ${refusal.code}: ${refusal.why}`),
    ...[...seen.admitted].map(service => described(service, view)),
  ]
}

function described(service: GlobalService, view: View): string {
  const { key, local, members, frontends } = service
  const clusters = members.map(member => member.cluster).join(', ') || 'no cluster'
  if (!local) return `${key} is known to ${clusters} only: without a local Service it has no name in this cluster`
  if (local.derived !== undefined)
    return `${key} of ${clusters}: in the clusterset it has the address of ${local.derived}, its derived Service`
  if (local.imported)
    return `${key} is imported, from ${clusters}: it has a name in the clusterset, none in the cluster`
  if (local.type === 'ExternalName') return `${key} is an alias to ${local.externalName}`
  if (!local.headless)
    return `${key} has a virtual address and ${frontends.length} ports; its endpoints are in ${clusters}`
  const ready = view.ready(service)
  const preferred = view.seen.preferred.has(service) ? view.preferred(service) : ready
  const shown = view.seen.shown.get(service) ?? []
  const told = preferred.length < ready.length ? ` and ${preferred.length} preferred` : ''
  return `${key} is headless, of ${clusters}; this client may see ${shown.length} backends, ${ready.length} of them ready${told}`
}

function outcome(found: Answer): string[] {
  if (found.extended) return [found.extended.text]
  if (found.rcode === rcodes.NXDOMAIN) return ['the name does not exist']
  return found.authority.length > 0 ? ['the name exists, without records of this type'] : []
}

async function look(
  { query, labels }: Asked,
  client: Client,
  resolver: Resolver,
  forwarder: Forwarder,
): Promise<{ readonly resolved: Resolved | undefined; readonly steps: string[] }> {
  const route = forwarder.routeOf(labels)
  if (!route) return { resolved: undefined, steps: ['no upstream resolver is configured for this name'] }
  const upstreams = route.upstreams.map(upstream => `${upstream.name} (${upstream.state})`).join(', ')
  const steps = [`resolvers for ${route.domain === '' ? 'all other names' : route.domain}: ${upstreams}`]
  const resolved = resolver.known(query) ?? (await resolver.resolve(query, client))
  if (resolved) steps.push(source(resolved))
  return { resolved, steps }
}

function source({ from, detail, ageSeconds }: Resolved): string {
  switch (from) {
    case 'cache':
      return `from the cache, learnt ${ageSeconds} s ago from ${detail}`
    case 'upstream':
      return `asked ${detail}`
    case 'stale':
      return `a stale answer from the cache, since ${detail}`
    case 'failure':
      return `no answer: ${detail}`
  }
}

const nothing: Printed = { answers: [], authority: [], additional: [] }
