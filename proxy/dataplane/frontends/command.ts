/** Runs programs of the system, `ip` and `nft`. */
import { execFile } from 'node:child_process'

const timeoutMs = 30_000
const maxOutputBytes = 64 * 1024 * 1024

export interface Output {
  readonly stdout: string
  readonly stderr: string
  /** The exit code was not 0. */
  readonly failed: boolean
}

/** Rejects when the program cannot be started or does not end in time. */
export function runCommand(command: string, args: readonly string[], input = ''): Promise<Output> {
  return new Promise((resolve, reject) => {
    // Faults are recognized by their messages in the C locale. Debian keeps these programs out of users' PATH.
    const path = [process.env.PATH, '/usr/sbin', '/sbin'].filter(Boolean).join(':')
    const env = { ...process.env, LC_ALL: 'C', PATH: path }
    const options = { env, timeout: timeoutMs, maxBuffer: maxOutputBytes }
    const child = execFile(command, args, options, (error, stdout, stderr) => {
      if (error && typeof error.code !== 'number') reject(error)
      else resolve({ stdout, stderr, failed: error !== null })
    })
    // When it ends before it has read all, its exit code says why.
    child.stdin?.on('error', () => {}).end(input)
  })
}
