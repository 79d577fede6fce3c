/** `starlane underlay` or `starlane run` on a node of a world. */
import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { eventually } from '../eventually.ts'
import type { NodeMachine, UnderlayWorld } from './machines.ts'

export const starlane = fileURLToPath(new URL('../../../bin/starlane.js', import.meta.url))

export class Agent {
  readonly child: ChildProcess
  #log = ''

  constructor(
    t: Test,
    world: UnderlayWorld,
    { machine, cluster }: NodeMachine,
    args: readonly string[] = ['underlay'],
  ) {
    const [command = '', ...rest] = args
    const config = rest.includes('-c') ? [] : ['-c', `${world.folder}/${cluster}.yaml`]
    const child = machine.start([process.execPath, starlane, command, ...config, ...rest])
    this.child = child
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', text => {
        this.#log += text
      })
    }
    t.teardown(() => this.stop('SIGKILL'))
  }

  get log(): string {
    return this.#log
  }

  async says(expected: RegExp): Promise<void> {
    await eventually(() => assert.match(this.#log, expected), 30_000)
  }

  /** Resolves with the exit code, null after a signal that it does not handle. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      this.child.kill(signal)
      await once(this.child, 'exit')
    }
    return this.child.exitCode
  }

  async ended(): Promise<{ code: number | null; log: string }> {
    if (this.child.exitCode === null && this.child.signalCode === null) await once(this.child, 'close')
    return { code: this.child.exitCode, log: this.#log }
  }
}
