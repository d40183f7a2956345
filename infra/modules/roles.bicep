// The roles of rbac.yml that no built-in role is small enough for. Their names are unique in a tenant.
targetScope = 'subscription'

param prefix string
@description('Subscriptions in which they may be assigned.')
param subscriptions array

var matrix = loadYamlContent('../rbac.yml')

resource roles 'Microsoft.Authorization/roleDefinitions@2022-04-01' = [for role in items(matrix.custom_roles): {
  name: guid(subscription().id, prefix, role.key)
  properties: {
    roleName: '${prefix} ${role.key}'
    description: role.value.what
    type: 'CustomRole'
    permissions: [
      {
        actions: union(role.value.called, role.value.invoking)
        notActions: []
        dataActions: []
        notDataActions: []
      }
    ]
    assignableScopes: subscriptions
  }
}]

@description('Role definition names (GUIDs) by what rbac.yml calls them.')
output trainer string = guid(subscription().id, prefix, 'fleet trainer')
output deployer string = guid(subscription().id, prefix, 'fleet deployer')
output scorer string = guid(subscription().id, prefix, 'fleet scorer')
output describer string = guid(subscription().id, prefix, 'fleet describer')
output monitor string = guid(subscription().id, prefix, 'fleet monitor')
output promoter string = guid(subscription().id, prefix, 'fleet promoter')
output registryReader string = guid(subscription().id, prefix, 'fleet registry reader')
