import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** What a command says on its standard output; rejects with what it complains of. */
export async function say(command: string, args: readonly string[]): Promise<string> {
  try {
    return (await run(command, args, { timeout: 120_000 })).stdout
  } catch (error) {
    const { stderr = '', message = '' } = Object(error) as { stderr?: string; message?: string }
    throw new Error(`${command}: ${stderr.trim() || message}`)
  }
}
