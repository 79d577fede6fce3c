/** Runs a command to its end. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** Resolves with what a command writes to stdout; rejects with what it writes to stderr. */
export async function stdoutOf(command: string, args: readonly string[]): Promise<string> {
  try {
    return (await run(command, args, { timeout: 120_000 })).stdout
  } catch (error) {
    const { stderr = '', message = '' } = Object(error) as { stderr?: string; message?: string }
    throw new Error(`${command}: ${stderr.trim() || message}`)
  }
}
