/** Whether the kernel could steer on this machine, as far as that shows without rights and without a change. */
import { messageOf } from '../../model/error.ts'
import type { KernelCalls } from '../../model/sockets/kernel.ts'
import { findCgroup } from './cgroup.ts'

type Found = { readonly addon: { readonly kernel?: KernelCalls } } | { readonly why: string }

/** Throws what is missing, with the remedy. */
export function requireSteering(found: Found): KernelCalls & { readonly object: Buffer } {
  if (process.platform !== 'linux') throw new Error(`it needs Linux, and this is ${process.platform}; set it to none`)
  if (!('addon' in found)) throw new Error(`it needs the addon: ${found.why}; ${rebuild}`)
  const { kernel } = found.addon
  if (!kernel) throw new Error(`the addon was built from sources of another version; ${rebuild}`)
  const { object } = kernel
  if (!object) throw new Error(`the addon has no programs for the kernel: ${kernel.why}; install clang and ${rebuild}`)
  return kernel as KernelCalls & { readonly object: Buffer }
}

/** Undefined where nothing is missing. `cgroup`: the folder that is configured. */
export function whyNoSteering(found: Found, cgroup: string | undefined): string | undefined {
  try {
    requireSteering(found)
    findCgroup(cgroup)
    return undefined
  } catch (error) {
    return messageOf(error)
  }
}

const rebuild = 'run `npm run build:native`, or set proxy.offload to none'
