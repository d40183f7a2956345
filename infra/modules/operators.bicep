// What people who operate the fleet see of a resource group.
param group string

var roles = loadYamlContent('../rbac.yml').roles

resource see 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(group)) {
  name: guid(resourceGroup().id, 'operators', 'Reader')
  properties: {
    principalId: group
    principalType: 'Group'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.Reader)
  }
}
