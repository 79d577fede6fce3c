/** Feeds a publisher with the shared services of the directory. */
import type { Change, Directory } from '../model/directory.ts'
import type { GlobalService } from '../model/service.ts'
import type { Clock } from '../model/time/clock.ts'
import type { Publisher } from './publisher.ts'

/**
 * Reports the local cluster's shared services to the publisher. `isGlobalNamespace`: whether a namespace may be exported (Cilium
 * C13). Nothing is reported before the source of the local cluster has answered (`isConfirmed`), since missing services would be
 * deleted, and those from memory may be gone. The returned function stops it.
 */
export function followDirectory(
  directory: Directory,
  publisher: Publisher,
  {
    isGlobalNamespace,
    isConfirmed,
    clock,
  }: {
    readonly isGlobalNamespace: (name: string) => boolean
    readonly isConfirmed: () => boolean
    readonly clock: Clock
  },
): () => void {
  const exported = (service: GlobalService | undefined) =>
    service?.local && service.settings.global && service.settings.shared && isGlobalNamespace(service.namespace)
      ? service.local
      : undefined
  let isReset = false
  const follow = (change: Change): void => {
    if (!directory.synced || !isConfirmed()) return
    if (isReset) {
      for (const { before, after } of change) {
        const now = exported(after)
        if (now) publisher.put(now)
        else if (before?.local) publisher.drop(before.namespace, before.name)
      }
      return
    }
    isReset = true
    publisher.reset([...directory.services()].flatMap(service => exported(service) ?? []))
  }
  const stopListening = directory.onChange(follow)
  // An empty cluster syncs without a change.
  const stopPolling = clock.every(1000, () => (isReset ? stopPolling() : follow([])))
  follow([])
  return () => {
    stopListening()
    stopPolling()
  }
}
