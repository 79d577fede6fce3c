/**
 * The command line. The bin only imports this file, which then runs; whoever else imports it gets `main` and no more.
 */
import { existsSync, realpathSync } from 'node:fs'
import { basename } from 'node:path'
import { messageOf } from '../model/error.ts'
import { runProgram } from './program.ts'
import { type Io, processIo } from './terminal/io.ts'

/** `argv` without the program's name. Resolves with the exit code: 0 good, 1 failed, 2 wrong use. */
export async function main(argv: readonly string[], io: Io = processIo): Promise<number> {
  try {
    return await runProgram(argv, io)
  } catch (error) {
    // No error of ours, so whoever mends it needs to know where it was.
    io.stderr.write(`starlane: unexpected: ${error instanceof Error ? error.stack : messageOf(error)}\n`)
    return 1
  }
}

const started = process.argv[1] ?? ''
if (existsSync(started) && basename(realpathSync(started)) === 'starlane.js') {
  // A reader that has seen enough, such as `head`, is no failure.
  process.stdout.on('error', () => process.exit())
  // Clocks here hold up nobody's end; while a command waits for one alone, this does, lest it seem to have ended well.
  const awake = setInterval(() => {}, 0x7fff_ffff)
  process.exitCode = await main(process.argv.slice(2))
  clearInterval(awake)
  // Whatever a command left open has a second to end by itself.
  setTimeout(() => process.exit(), 1000).unref()
}
