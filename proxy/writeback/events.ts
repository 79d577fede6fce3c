/** Kubernetes Events for problems of the local cluster's own Services. */
import type { Problem } from '../model/error.ts'
import { digestOf, type Manifest, managedBy } from './manifest.ts'

/** How often a standing problem is reported again: the API server deletes Events after an hour. */
export const repeatMs = 30 * 60_000

/** The Event for a problem of one of the cluster's own Services; undefined for all other problems. */
export function eventOf({ code, where, message }: Problem, cluster: string, wallMs: number): Manifest | undefined {
  if (code !== 'SERVICE_ANNOTATION') return undefined
  const [, of, namespace, name] = /^(\S+) ([a-z0-9-]+)\/([a-z0-9-]+)(?: \(.*\))?$/.exec(where) ?? []
  if (of !== cluster || namespace === undefined || name === undefined) return undefined
  const time = new Date(wallMs).toISOString().replace(/\.\d+Z$/, 'Z')
  return {
    apiVersion: 'v1',
    kind: 'Event',
    // The name is a hash of the message, so that the same problem is always the same Event.
    metadata: { namespace, name: `${name}.${digestOf(message)}` },
    involvedObject: { apiVersion: 'v1', kind: 'Service', namespace, name },
    type: 'Warning',
    reason: 'BadAnnotation',
    message: message.slice(0, 1024),
    source: { component: managedBy },
    firstTimestamp: time,
    lastTimestamp: time,
    count: 1,
  }
}
