/** Temporary folder and port numbers of one run; no port is given out twice. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export class Place {
  readonly #root = mkdtempSync(join(tmpdir(), 'starlane-bench-'))
  #port: number
  #folders = 0

  /** `firstPort` and the hundred above it should lie below net.ipv4.ip_local_port_range, or one may already be in use. */
  constructor(firstPort: number) {
    this.#port = firstPort
    chmodSync(this.#root, 0o755) // nginx started by root reads its files as another user
  }

  /** A new port each time, so that connections in TIME-WAIT belong to an earlier contender. */
  port(): number {
    return this.#port++
  }

  folder(name: string): string {
    const folder = join(this.#root, `${++this.#folders}-${name}`)
    mkdirSync(folder)
    return folder
  }

  remove(): void {
    rmSync(this.#root, { recursive: true })
  }
}
