import type { Problem } from '../model/error.ts'
import { digestOf, type Manifest, owner } from './manifest.ts'

/** Said again as long as it holds, well before the API server forgets it after an hour. */
export const repeatMs = 30 * 60_000

/** A problem of one of the cluster's own Services as a Kubernetes Event; undefined for all others. */
export function eventOf({ code, where, message }: Problem, cluster: string, wallMs: number): Manifest | undefined {
  if (code !== 'SERVICE_ANNOTATION') return undefined
  const [, of, namespace, name] = /^(\S+) ([a-z0-9-]+)\/([a-z0-9-]+)(?: \(.*\))?$/.exec(where) ?? []
  if (of !== cluster || namespace === undefined || name === undefined) return undefined
  const time = new Date(wallMs).toISOString().replace(/\.\d+Z$/, 'Z')
  return {
    apiVersion: 'v1',
    kind: 'Event',
    // The same problem is the same Event, however often it is told and by whom.
    metadata: { namespace, name: `${name}.${digestOf(message)}` },
    involvedObject: { apiVersion: 'v1', kind: 'Service', namespace, name },
    type: 'Warning',
    reason: 'BadAnnotation',
    message: message.slice(0, 1024),
    source: { component: owner },
    firstTimestamp: time,
    lastTimestamp: time,
    count: 1,
  }
}
