// What whoever deploys an environment may do in a subscription: make everything, and give the roles of rbac.yml.
targetScope = 'subscription'

param principal string

var roles = loadYamlContent('../rbac.yml').roles
var wanted = [
  'Contributor'
  'User Access Administrator'
]

resource access 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for role in wanted: {
  name: guid(subscription().id, principal, role)
  properties: {
    principalId: principal
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles[role])
  }
}]
