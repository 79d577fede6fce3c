/**
 * The service manager keeps the sockets while one process has stopped and the next has not started: clients wait in them
 * (`FileDescriptorStoreMax=` of systemd.service(5)). Where it keeps none, it closes what it gets, and nothing is different.
 */
import { closeSync } from 'node:fs'
import { boundSockets } from '../../handover/listen-fds.ts'
import type { PassingCalls } from '../../model/sockets/passing.ts'

/** One name for all: the next process finds each by its address. */
const storeName = 'starlane'
/** In one datagram; the kernel takes 253. */
const most = 200

export class SocketStore {
  readonly #notify: (text: string, descriptors?: readonly number[]) => void
  readonly #calls: PassingCalls | undefined

  /** Without NOTIFY_SOCKET or the addon nothing is kept. */
  constructor(calls: PassingCalls | undefined, env: Readonly<Record<string, string | undefined>>) {
    const { NOTIFY_SOCKET: path } = env
    this.#calls = path ? calls : undefined
    this.#notify = (text, descriptors = []) => void (path && calls?.notify(path, text, descriptors))
  }

  /** Tells the service manager something (sd_notify(3)). */
  notify(text: string): void {
    this.#notify(text)
  }

  /** Gives the sockets at these addresses (`127.0.0.1:80/TCP`) to the service manager. They stay open here. */
  keep(names: Iterable<string>): number {
    if (!this.#calls) return 0
    const sockets = boundSockets(new Set(names), this.#calls)
    const descriptors = sockets.map(({ descriptor }) => descriptor)
    for (let i = 0; i < descriptors.length; i += most) {
      this.#notify(`FDSTORE=1\nFDNAME=${storeName}\nFDPOLL=0`, descriptors.slice(i, i + most))
    }
    for (const descriptor of descriptors) closeSync(descriptor)
    return descriptors.length
  }

  /** This process has the sockets: one that it closes must refuse, and not go on in the store. */
  take(): void {
    this.#notify(`FDSTOREREMOVE=1\nFDNAME=${storeName}`)
  }
}
