/** How the garbage collector counts the memory of chunks, in a process that carries tunnels. */
import { setFlagsFromString } from 'node:v8'

let isSet = false

/**
 * node:http2 allocates memory outside the heap for each record of TLS that it reads. By default V8 marks the whole heap for every 64 MiB
 * of that, which takes a third of a bulk transfer's CPU; with this flag such memory counts like the heap itself, and is collected with the young objects.
 */
export function countChunksAsHeap(): void {
  if (isSet) return
  isSet = true
  setFlagsFromString('--external-memory-accounted-in-global-limit')
}
