/** Writes a tar archive in the ustar format (POSIX.1-1988), of regular files only. */

export interface ArchiveFile {
  /** At most 100 bytes, with forward slashes. */
  readonly name: string
  readonly content: string
}

const block = 512

/** `mtimeMs`: of every file. Throws a RangeError for a name that is too long. */
export function tar(files: readonly ArchiveFile[], mtimeMs: number): Buffer {
  const parts = files.flatMap(({ name, content }) => {
    const bytes = Buffer.from(content)
    return [header(name, bytes.length, mtimeMs), bytes, Buffer.alloc((block - (bytes.length % block)) % block)]
  })
  return Buffer.concat([...parts, Buffer.alloc(2 * block)])
}

function header(name: string, size: number, mtimeMs: number): Buffer {
  if (Buffer.byteLength(name) > 100) throw new RangeError(`${name} is longer than 100 bytes`)
  const head = Buffer.alloc(block)
  const octal = (value: number, at: number, width: number) =>
    head.write(`${value.toString(8).padStart(width - 1, '0')}\0`, at, 'ascii')
  head.write(name, 0, 'utf8')
  octal(0o600, 100, 8)
  octal(0, 108, 8)
  octal(0, 116, 8)
  octal(size, 124, 12)
  octal(Math.floor(mtimeMs / 1000), 136, 12)
  head.write('        0', 148, 'ascii')
  head.write('ustar\x0000', 257, 'ascii')
  const sum = head.reduce((total, byte) => total + byte, 0)
  head.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'ascii')
  return head
}
