/** A file that whoever gives the command has named. */
import { MeshError, whyUnreadable } from '../../model/error.ts'
import { readRegularText } from '../../model/text/regular-file.ts'

/** Throws USAGE, with the name of the file and why it cannot be read. */
export async function readNamedFile(file: string): Promise<string> {
  try {
    return await readRegularText(file)
  } catch (error) {
    throw new MeshError('USAGE', `${file} ${whyUnreadable(error)}`)
  }
}
