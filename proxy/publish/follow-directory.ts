import type { Change, Directory } from '../model/directory.ts'
import type { GlobalService } from '../model/service.ts'
import type { Clock } from '../model/time/clock.ts'
import type { Publisher } from './publisher.ts'

/**
 * Keeps a publisher told of what the local cluster shares, from the directory. `isGlobalNamespace` is the export gate (Cilium
 * C13). Nothing is told before the local source has delivered once, since a gap would be published as one. The returned
 * function ends it.
 */
export function followDirectory(
  directory: Directory,
  publisher: Publisher,
  { isGlobalNamespace, clock }: { readonly isGlobalNamespace: (name: string) => boolean; readonly clock: Clock },
): () => void {
  const exported = (service: GlobalService | undefined) =>
    service?.local && service.settings.global && service.settings.shared && isGlobalNamespace(service.namespace)
      ? service.local
      : undefined
  let isTold = false
  const hear = (change: Change): void => {
    if (!directory.synced) return
    if (isTold) {
      for (const { before, after } of change) {
        const now = exported(after)
        if (now) publisher.put(now)
        else if (before?.local) publisher.drop(before.namespace, before.name)
      }
      return
    }
    isTold = true
    publisher.reset([...directory.services()].flatMap(service => exported(service) ?? []))
  }
  const stopListening = directory.onChange(hear)
  // An empty cluster becomes synced without any change.
  const stopLooking = clock.every(1000, () => (isTold ? stopLooking() : hear([])))
  hear([])
  return () => {
    stopListening()
    stopLooking()
  }
}
