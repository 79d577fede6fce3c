/** Where a run lives: a folder that goes with it, and ports of which none is used twice. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export class Place {
  readonly #root = mkdtempSync(join(tmpdir(), 'starlane-bench-'))
  #port: number
  #folders = 0

  /** `firstPort` and some hundred above it should be below net.ipv4.ip_local_port_range, or one may be in use when it is needed. */
  constructor(firstPort: number) {
    this.#port = firstPort
    chmodSync(this.#root, 0o755) // started by root, nginx reads its files as another user
  }

  /** Connections of a former contender that still wait to be forgotten belong to another port. */
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
