/** The program of `test/interop/cilium`, which uses Cilium's own packages. */
import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { goProgram } from './go-program.ts'

const cilium = goProgram('cilium')

/** The version of Cilium that it was built with. */
export const ciliumVersion = cilium.versionOf('github.com/cilium/cilium')

/** Why the tests with it cannot run; false when they can. */
export const noHelper = cilium.missing

/** Runs a command of the helper, which prints JSON. */
export async function runHelper(command: 'check' | 'write', input?: unknown): Promise<unknown> {
  const child = spawn(cilium.path, [command], { stdio: ['pipe', 'pipe', 'inherit'] })
  child.stdin.end(input === undefined ? '' : JSON.stringify(input))
  return JSON.parse(await text(child.stdout))
}
