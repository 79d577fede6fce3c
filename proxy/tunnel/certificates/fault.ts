/** The error of a file that cannot be used. */
import { MeshError } from '../../model/error.ts'

/** `message` continues the path of the file. */
export function fault(file: string, message: string, cause?: unknown): MeshError {
  return new MeshError('CERTIFICATE', `${file} ${message}`, { cause })
}
