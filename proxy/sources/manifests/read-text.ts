/** Reads a manifest file. */
import { isUtf8 } from 'node:buffer'
import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'

/** 32 MiB: several times the services and slices of a large cluster. */
export const maxFileBytes = 32 * 1024 * 1024

/** The text of a regular file; undefined if it has more than `most` bytes. Throws when it is not a regular file, too large, or not UTF-8. */
export async function readText(path: string, most = maxFileBytes): Promise<string | undefined> {
  // Without O_NONBLOCK, opening a named pipe would wait for a writer and block a thread of the pool.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    const bytes = await readBytes(file, most)
    if (!bytes) return undefined
    if (!isUtf8(bytes))
      throw new Error(`it is not UTF-8 text${looksLikeUtf16(bytes) ? ' but UTF-16' : ''}; save it as UTF-8`)
    const text = bytes.toString('utf8')
    return text.startsWith('\ufeff') ? text.slice(1) : text
  } finally {
    await file.close()
  }
}

/** Reads up to the size at opening. If the file grows meanwhile, the next event leads to another read. */
async function readBytes(file: FileHandle, most: number): Promise<Buffer | undefined> {
  const stats = await file.stat()
  if (!stats.isFile()) throw new Error('it is not a regular file')
  if (stats.size > maxFileBytes)
    throw new Error(`it has ${stats.size} bytes, more than ${maxFileBytes} (32 MiB); split it`)
  if (stats.size > most) return undefined
  const bytes = Buffer.allocUnsafe(stats.size)
  let length = 0
  while (length < bytes.length) {
    const { bytesRead } = await file.read(bytes, length, bytes.length - length, length)
    if (bytesRead === 0) break
    length += bytesRead
  }
  return bytes.subarray(0, length)
}

function looksLikeUtf16(bytes: Buffer): boolean {
  const mark = bytes.length >= 2 ? bytes.readUInt16BE(0) : 0
  return mark === 0xfeff || mark === 0xfffe
}
