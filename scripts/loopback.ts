/** Loopback networks that nobody else on this machine uses, so that tests and faults run side by side. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

// A file per claimed network, which holds the id of the process that uses it.
const folder = join(tmpdir(), 'starlane-loopback')
// 127.100.0.0/24 to 127.199.255.0/24.
const networks = 100 * 256
const claimed: string[] = []
let next = Math.floor(Math.random() * networks)

/** The first three bytes of a /24 that is this process's own until it ends, such as 127.131.7. */
export function claimNetwork(): string {
  mkdirSync(folder, { recursive: true })
  for (let tried = 0; tried < networks; tried++) {
    const index = next++ % networks
    const network = `127.${100 + (index >> 8)}.${index & 255}`
    if (claim(network)) return network
  }
  throw new Error(`all networks are claimed: see ${folder}`)
}

function claim(network: string): boolean {
  const file = join(folder, network)
  try {
    writeFileSync(file, String(process.pid), { flag: 'wx' })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    // A process that was killed has left it behind: free for whoever asks next.
    const owner = readIfThere(file)
    if (owner !== undefined && !runs(Number(owner))) rmSync(file, { force: true })
    return false
  }
  if (claimed.length === 0) process.once('exit', release)
  claimed.push(file)
  return true
}

function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return undefined // released at this moment
  }
}

function release(): void {
  for (const file of claimed) rmSync(file, { force: true })
}

/** An id of 0, from a file that is not written yet, is our own process group, so it runs. */
function runs(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
