/** Reads files that users name: a named pipe or a device would block a thread, or never end. */
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { buffer } from 'node:stream/consumers'
import { messageOf } from '../error.ts'

const remedy = '; this user may not read it: change its owner or mode'

/**
 * The first `most` bytes of a regular file; without it, all. Rejects with the error of the system, and for what is neither a file nor
 * a folder at once, with its own.
 */
export async function readRegularFile(path: string, most = Number.POSITIVE_INFINITY): Promise<Buffer> {
  // Without O_NONBLOCK, opening a named pipe would wait for a writer.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch((error: NodeJS.ErrnoException) => {
    error.message = readFaultText(error)
    throw error
  })
  try {
    const stats = await file.stat()
    // Reading a folder fails with EISDIR.
    if (!stats.isFile() && !stats.isDirectory()) throw new Error(notRegular)
    return await buffer(file.createReadStream({ end: most - 1, autoClose: false }))
  } finally {
    await file.close()
  }
}

/** The error of the system, with what to do if the file is not for this user. */
export function readFaultText(error: unknown): string {
  const said = messageOf(error)
  const isClosed = (error as NodeJS.ErrnoException).code === 'EACCES' && !said.endsWith(remedy)
  return isClosed ? `${said}${remedy}` : said
}

/** The same as UTF-8. */
export async function readRegularText(path: string): Promise<string> {
  return (await readRegularFile(path)).toString('utf8')
}

const notRegular = 'it is not a regular file but a named pipe or a device; give a file'
