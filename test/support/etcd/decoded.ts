/** What a decoder that takes steps makes of a record, all at once. */

import { decodeService as decodeInSteps } from '../../../proxy/sources/etcd/decode-service.ts'
import type { Owner } from '../../../proxy/sources/etcd/records.ts'
import type { ClusterObject } from '../../../proxy/sources/objects.ts'

export function decodeService(suffix: string, value: Uint8Array, owner: Owner): readonly ClusterObject[] {
  return finished(decodeInSteps(suffix, value, owner))
}

export function finished<T>(steps: Generator<unknown, T>): T {
  for (;;) {
    const step = steps.next()
    if (step.done) return step.value
  }
}
