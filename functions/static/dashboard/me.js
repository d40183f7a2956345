// What the signed-in person may do. The app decides; this only says so beforehand, and why.

import { createContext, useContext } from "../vendor/htm-preact.js";

export const Me = createContext(null);

/** Why this person may not operate the fleet; nothing when they may. */
export function useRefusal() {
  const me = useContext(Me);
  return me.operators.some((group) => me.groups.includes(group)) ? "" : `Only members of ${me.operators.join(" or ")} may do this; you are in ${me.groups.join(", ") || "no group"}.`;
}

/** Why this person's answer to a gate would not be taken, or would not count; nothing when it does. */
export function whyNotAnswer(me, approval) {
  const groups = [...new Set(approval.requirement.flat())];
  if (!groups.some((group) => me.groups.includes(group))) return `This gate asks ${groups.join(" or ")}; you are in ${me.groups.join(", ") || "no group"}.`;
  if (approval.channel !== "product") return `This gate is answered in Azure DevOps${approval.asked_at ? `: ${approval.asked_at}` : ""}.`;
  return "";
}
