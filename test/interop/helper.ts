/**
 * The helper program of `test/interop/cilium`, which uses Cilium's own packages. Building it needs Go and takes minutes the first
 * time, so it is kept in `node_modules/.cache`, by the content of its sources.
 */
import { execFileSync, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'

const folder = fileURLToPath(new URL('cilium', import.meta.url))
const cache = fileURLToPath(new URL('../../node_modules/.cache/starlane-interop', import.meta.url))

const sources = ['go.mod', 'go.sum', 'main.go']
const digest = createHash('sha256')
for (const name of sources) digest.update(readFileSync(`${folder}/${name}`))
const program = `${cache}/cilium-${digest.digest('hex').slice(0, 16)}`

/** The version of Cilium that it was built with. */
export const ciliumVersion =
  /github\.com\/cilium\/cilium (v\S+)/.exec(readFileSync(`${folder}/go.mod`, 'utf8'))?.[1] ?? ''

/** Why the tests with it cannot run; false when they can. */
export const noHelper: string | false = existsSync(program)
  ? false
  : 'its helper is not built: npm run test:interop, which needs Go and access to a module proxy'

/**
 * Returns why it is not built on this machine: without Go, or without its modules. Undefined when it is there. Throws when it has
 * all it needs and does not compile.
 */
export function buildHelper(): string | undefined {
  if (existsSync(program)) return undefined
  try {
    execFileSync('go', ['version'], { stdio: 'ignore' })
  } catch {
    return 'Go is not installed'
  }
  try {
    // Fetches what the packages need, and compiles nothing.
    execFileSync('go', ['list', '-deps', '.'], { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] })
  } catch {
    return 'its modules cannot be fetched: see above'
  }
  mkdirSync(cache, { recursive: true })
  execFileSync('go', ['build', '-trimpath', '-ldflags=-s -w', '-o', program, '.'], { cwd: folder, stdio: 'inherit' })
  return undefined
}

/** Runs a command of the helper, which prints JSON. */
export async function runHelper(command: 'check' | 'write', input?: unknown): Promise<unknown> {
  const child = spawn(program, [command], { stdio: ['pipe', 'pipe', 'inherit'] })
  child.stdin.end(input === undefined ? '' : JSON.stringify(input))
  return JSON.parse(await text(child.stdout))
}
